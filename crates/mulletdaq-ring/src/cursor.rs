//! Reading: copy → validate, and exact counting of what was overwritten before it was read.

use crate::copy;
use crate::error::{Corrupt, ReadError};
use crate::frame::{self, FrameHeader};
use crate::layout::{ALIGN, FRAME_HEADER_BYTES, WORD, flag, header, kind};
use crate::region::Region;
use crate::rows::Schema;
use crate::sync::Ordering;
use crate::walk::{self, Place};
use core::mem::MaybeUninit;

/// How often one read starts over when the producer overtakes it, each time half a ring behind it.
const ATTEMPTS: u32 = 1000;

/// Sequence of a place that was remembered without one.
const UNKNOWN: u64 = u64::MAX;

/// Why rows were not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The producer wrote over them first.
    Overwritten,
    /// Their checksum or header was wrong.
    Corrupt,
}

/// Rows that a cursor will never deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The first of them.
    pub first_row: u64,
    /// How many.
    pub rows: u64,
    /// Sequence of the first frame of which nothing was delivered.
    pub first_sequence: u64,
    /// Frames of which nothing was delivered.
    pub frames: u64,
    /// Why.
    pub cause: Cause,
}

/// What one read delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// One of [`kind`], never padding.
    pub kind: u32,
    /// Start of the frame.
    pub position: u64,
    /// Sequence of the frame.
    pub sequence: u64,
    /// Stamp in the frame's header, ns.
    pub timestamp_ns: u64,
    /// Absolute index of the first row delivered.
    pub first_row: u64,
    /// Rows delivered.
    pub rows: u64,
    /// Rows of the copied message that come before the first delivered (Arrow messages only).
    pub skip: u64,
    /// Bytes of the copied payload that count.
    pub bytes: u64,
    /// What was lost between the last delivery and this one.
    pub loss: Option<Loss>,
}

/// Where a payload is copied to.
enum Target<'a> {
    /// Whatever it is.
    Words(&'a mut Vec<u64>),
    /// An opaque message of just this length.
    Message(&'a mut [MaybeUninit<u8>]),
}

enum Step {
    Delivered(Delivery),
    Nothing,
    Skipped,
    Overtaken,
}

/// A reader's place in a ring. Never waits, never writes, never holds the producer up.
pub struct Cursor {
    region: Region,
    schema: Option<Schema>,
    place: Place,
    // False until the row of a position given by the caller is known.
    row_known: bool,
    corrupt: bool,
    verify: bool,
    lost_rows: u64,
    lost_frames: u64,
}

impl Cursor {
    /// A cursor at a place that [`walk`] found.
    pub fn at(region: Region, place: Place) -> Self {
        Self {
            region,
            schema: None,
            place,
            row_known: true,
            corrupt: false,
            verify: false,
            lost_rows: 0,
            lost_frames: 0,
        }
    }

    /// A cursor at a position at which a frame must start.
    pub fn at_position(region: Region, position: u64) -> Self {
        let place = Place { position, rows_before: 0, row: 0, sequence: 0 };
        Self { row_known: false, ..Self::at(region, place) }
    }

    /// A cursor that goes on at a row in or behind the frame at a position, both remembered from earlier.
    ///
    /// Whatever was overwritten since, from that row on, counts as lost. Without the remembered
    /// [`Self::sequence`], the rows of such a loss are exact but its frames are given as 0.
    pub fn resume(region: Region, position: u64, row: u64, sequence: Option<u64>) -> Result<Self, ReadError> {
        let mut cursor = Self::at_position(region, position);
        let head = cursor.region.header(header::WRITE_HEAD).load(Ordering::Acquire);
        let look = || FrameHeader::look(&cursor.region, position, head).map_err(|_| ReadError::Position(position));
        let there = if position < head { look()? } else { None };
        cursor.place.row = row;
        cursor.place.sequence = sequence.unwrap_or(UNKNOWN);
        cursor.row_known = true;
        match there {
            Some(frame) if row < frame.first_row || row > frame.end_row() => return Err(ReadError::Position(position)),
            Some(frame) => {
                cursor.place.rows_before = row - frame.first_row;
                cursor.place.sequence = frame.sequence;
            }
            None if position < head => {}
            None if position == head => {
                let newest = walk::newest(&cursor.region)?;
                if newest.position > position {
                    // Published since: the place now has a frame, or is overwritten already.
                    return Self::resume(cursor.region, position, row, sequence);
                }
                if newest.row != row {
                    return Err(ReadError::Position(position));
                }
                cursor.place = newest;
            }
            None => return Err(ReadError::Position(position)),
        }
        Ok(cursor)
    }

    /// Check the checksum of every sealed frame before delivering rows of it.
    pub fn set_verify(&mut self, verify: bool) {
        self.verify = verify && self.region.flags() & flag::CHECKSUMS != 0;
    }

    /// Start of the frame that the next row comes from.
    pub fn position(&self) -> u64 {
        self.place.position
    }

    /// Absolute index of the next row.
    pub fn row(&self) -> u64 {
        self.place.row
    }

    /// Sequence of the first frame of which nothing was delivered yet.
    pub fn sequence(&self) -> u64 {
        self.place.sequence.saturating_add((self.place.rows_before > 0) as u64)
    }

    /// Rows lost so far.
    pub fn lost_rows(&self) -> u64 {
        self.lost_rows
    }

    /// Frames lost so far of which nothing was delivered.
    pub fn lost_frames(&self) -> u64 {
        self.lost_frames
    }

    /// The ring's region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Copy the next rows, at most `max_rows` of them, into `into`; `None` when there is nothing new.
    ///
    /// Rows come as an Arrow record batch message, Arrow messages and opaque ones as they were
    /// written. What was copied is intact: nothing of it was overwritten meanwhile.
    pub fn read(&mut self, max_rows: u64, into: &mut Vec<u64>) -> Result<Option<Delivery>, ReadError> {
        let mut overtaken = 0;
        while overtaken < ATTEMPTS {
            into.clear();
            match self.step(max_rows, Target::Words(into)) {
                Ok(Step::Delivered(delivery)) => return Ok(Some(delivery)),
                Ok(Step::Skipped) => {}
                Ok(Step::Nothing) => return self.nothing(),
                Ok(Step::Overtaken) => {
                    self.jump(overtaken);
                    overtaken += 1;
                }
                Err(error) => return Err(self.failure(error)),
            }
        }
        self.nothing()
    }

    /// Bytes of the opaque message that comes next; `None` where it is none, or is not to be seen yet.
    pub fn next_message_bytes(&self) -> Option<u64> {
        if self.region.flags() & flag::OPAQUE == 0 {
            return None;
        }
        // A hint: whoever reads the message looks at its frame again.
        let head = self.region.header(header::WRITE_HEAD).load(Ordering::Relaxed);
        if self.place.position >= head {
            return None;
        }
        let frame = FrameHeader::look(&self.region, self.place.position, head).ok()??;
        (frame.kind == kind::OPAQUE && self.place.rows_before < frame.rows).then_some(frame.length)
    }

    /// Copy the next opaque message to where there is room for just [`Self::next_message_bytes`].
    ///
    /// `None` when by now another one is next, or none, so that [`Self::read`] is to be asked. Only after a delivery
    /// is `into` initialized.
    pub fn read_message(&mut self, into: &mut [MaybeUninit<u8>]) -> Result<Option<Delivery>, ReadError> {
        match self.step(1, Target::Message(into)) {
            Ok(Step::Delivered(delivery)) => Ok(Some(delivery)),
            Ok(Step::Nothing | Step::Skipped | Step::Overtaken) => Ok(None),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn failure(&self, error: ReadError) -> ReadError {
        if self.region.truncated() { ReadError::Truncated } else { error }
    }

    fn nothing(&self) -> Result<Option<Delivery>, ReadError> {
        if self.region.truncated() {
            Err(ReadError::Truncated)
        } else if self.region.flags() & flag::REPLACED != 0 {
            Err(ReadError::Replaced)
        } else {
            Ok(None)
        }
    }

    /// Go to the oldest frame; if that was overtaken before it could be read, half a ring further.
    fn jump(&mut self, overtaken: u32) {
        // A hint where to look: it is `write_head` that makes what lies there visible.
        let load = |index| self.region.header(index).load(Ordering::Relaxed);
        let mut target = load(header::OLDEST);
        if overtaken > 0 {
            target = target.max(load(header::MIDWAY));
        }
        if target > self.place.position {
            if self.place.rows_before > 0 {
                // Part of the frame was delivered, so it does not count as a lost frame.
                self.place.sequence = self.place.sequence.saturating_add(1);
                self.place.rows_before = 0;
            }
            self.place.position = target;
        }
    }

    fn step(&mut self, max_rows: u64, into: Target<'_>) -> Result<Step, ReadError> {
        let position = self.place.position;
        let head = self.region.header(header::WRITE_HEAD).load(Ordering::Acquire);
        if !self.row_known && (position > head || !position.is_multiple_of(ALIGN)) {
            return Err(ReadError::Position(position));
        }
        if position >= head {
            let valid = frame::intact(&self.region, position);
            return Ok(if valid { Step::Nothing } else { Step::Overtaken });
        }
        let frame = match FrameHeader::look(&self.region, position, head) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Step::Overtaken),
            Err(_) if !self.row_known => return Err(ReadError::Position(position)),
            Err(corrupt) => return Err(self.skip_unreadable(corrupt)),
        };
        if !self.row_known {
            self.place.row = frame.first_row;
            self.place.sequence = frame.sequence;
            self.row_known = true;
        }
        let before = self.place.rows_before;
        if frame.kind == kind::PADDING || before >= frame.rows {
            return Ok(self.pass(&frame));
        }
        if self.verify && frame.sealed {
            let sum = frame.checksum(&self.region);
            if !frame::intact(&self.region, position) {
                return Ok(Step::Overtaken);
            }
            if sum != frame.crc {
                return Err(self.skip_corrupt(&frame));
            }
        }
        self.copy(&frame, max_rows, into)
    }

    /// Nothing more to deliver from this frame: step over it if it is finished.
    fn pass(&mut self, frame: &FrameHeader) -> Step {
        if !frame.sealed {
            return Step::Nothing;
        }
        let skipped_nothing = self.place.row == frame.end_row() && !self.corrupt;
        self.place.position = frame.end();
        self.place.rows_before = 0;
        if skipped_nothing {
            self.place.sequence = frame.end_sequence();
        }
        Step::Skipped
    }

    fn copy(&mut self, frame: &FrameHeader, max_rows: u64, into: Target<'_>) -> Result<Step, ReadError> {
        let before = self.place.rows_before;
        let rows = (frame.rows - before).min(max_rows.max(1));
        let payload = self.region.data(frame.position + FRAME_HEADER_BYTES, frame.length.next_multiple_of(WORD));
        let mut bytes = frame.length;
        let into = match into {
            Target::Words(words) => words,
            Target::Message(message) if frame.kind == kind::OPAQUE && frame.length == message.len() as u64 => {
                copy::load_bytes(payload, message);
                return Ok(self.checked(frame, rows, bytes));
            }
            Target::Message(_) => return Ok(Step::Nothing),
        };
        if frame.kind == kind::ROWS {
            let body = &payload[(frame.body_offset as u64 / WORD) as usize..];
            let schema = match &self.schema {
                Some(schema) => schema,
                None => match Schema::load(&self.region) {
                    Some(Some(schema)) => self.schema.insert(schema),
                    _ => return Err(self.skip_unreadable(of(frame, "rows without a readable schema"))),
                },
            };
            if schema.body_bytes(frame.row_capacity as u64) != frame.length - frame.body_offset as u64 {
                return Err(self.skip_unreadable(of(frame, "its columns do not have the schema's sizes")));
            }
            let copied = schema.read_rows(body, frame.row_capacity as u64, before, before + rows, into);
            if copied.is_none() {
                return Err(self.skip_unreadable(of(frame, "its columns do not have the schema's sizes")));
            }
            bytes = into.len() as u64 * WORD;
        } else {
            copy::load_words(payload, into);
        }
        Ok(self.checked(frame, rows, bytes))
    }

    /// What was copied counts only if nothing of it was overwritten meanwhile.
    fn checked(&mut self, frame: &FrameHeader, rows: u64, bytes: u64) -> Step {
        if frame::intact(&self.region, frame.position) {
            Step::Delivered(self.deliver(frame, rows, bytes))
        } else {
            Step::Overtaken
        }
    }

    /// Account for a good copy and step behind it.
    fn deliver(&mut self, frame: &FrameHeader, rows: u64, bytes: u64) -> Delivery {
        let before = self.place.rows_before;
        let first_row = frame.first_row.wrapping_add(before);
        let loss = self.account(first_row, frame.sequence);
        let end = before + rows;
        self.place = if end == frame.rows && frame.sealed {
            Place { position: frame.end(), rows_before: 0, row: frame.end_row(), sequence: frame.end_sequence() }
        } else {
            Place { position: frame.position, rows_before: end, row: first_row + rows, sequence: frame.sequence }
        };
        Delivery {
            kind: frame.kind,
            position: frame.position,
            sequence: frame.sequence,
            timestamp_ns: frame.timestamp_ns,
            first_row,
            rows,
            skip: if frame.kind == kind::ARROW { before } else { 0 },
            bytes,
            loss,
        }
    }

    /// The gap between the row expected and the row found.
    fn account(&mut self, found_row: u64, found_sequence: u64) -> Option<Loss> {
        let rows = found_row.saturating_sub(self.place.row);
        let cause = if core::mem::take(&mut self.corrupt) { Cause::Corrupt } else { Cause::Overwritten };
        if rows == 0 {
            return None;
        }
        let first_sequence = if self.place.sequence == UNKNOWN { found_sequence } else { self.place.sequence };
        let frames = found_sequence.saturating_sub(first_sequence);
        self.lost_rows += rows;
        self.lost_frames += frames;
        Some(Loss { first_row: self.place.row, rows, first_sequence, frames, cause })
    }

    /// A frame whose checksum is wrong: its header still says where the next one starts.
    fn skip_corrupt(&mut self, frame: &FrameHeader) -> ReadError {
        if self.place.rows_before > 0 {
            self.place.sequence = self.place.sequence.saturating_add(1);
            self.place.rows_before = 0;
        }
        self.place.position = frame.end();
        self.corrupt = true;
        of(frame, "its checksum is wrong").into()
    }

    /// A frame whose header is wrong: the next one that can be found is at the half-ring mark.
    ///
    /// Or, if that lies behind, whatever is written from now on: a read never fails twice at one place.
    fn skip_unreadable(&mut self, corrupt: Corrupt) -> ReadError {
        let load = |index| self.region.header(index).load(Ordering::Relaxed);
        let (midway, head) = (load(header::MIDWAY), load(header::WRITE_HEAD));
        let target = if midway > self.place.position { midway } else { head };
        if target > self.place.position {
            self.place.position = target;
            self.place.rows_before = 0;
            self.corrupt = true;
        }
        corrupt.into()
    }
}

fn of(frame: &FrameHeader, reason: &'static str) -> Corrupt {
    Corrupt { position: frame.position, reason }
}
