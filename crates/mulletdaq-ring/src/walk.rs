//! Finding frames by their headers, as a reader that may be overtaken at any time.

use crate::error::{Corrupt, ReadError};
use crate::frame::FrameHeader;
use crate::layout::{header, kind};
use crate::region::Region;
use crate::sync::{Ordering, yield_now};
use core::cell::Cell;

/// How often a walk starts over when the producer overtakes it; each time it starts half a ring ahead.
const ATTEMPTS: u32 = 1000;

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Start of the frame.
    pub position: u64,
    /// Rows of that frame that lie before the place.
    pub rows_before: u64,
    /// Absolute index of the next row.
    pub row: u64,
    /// Sequence of the frame.
    pub sequence: u64,
}

impl Place {
    fn in_frame(frame: &FrameHeader, row: u64) -> Self {
        Self { position: frame.position, rows_before: row.wrapping_sub(frame.first_row), row, sequence: frame.sequence }
    }

    fn behind(frame: &FrameHeader) -> Self {
        Self { position: frame.end(), rows_before: 0, row: frame.end_row(), sequence: frame.end_sequence() }
    }
}

/// The end of a ring at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Behind the newest row, open frame included.
    pub place: Place,
    /// Start of the newest frame that holds rows; a later search may begin there.
    pub frame: Option<u64>,
}

/// The oldest row that is still there.
pub fn oldest(region: &Region) -> Result<Place, ReadError> {
    from(region, header::OLDEST, 0, |_| Some(0))
}

/// Behind the newest row, open frame included.
pub fn newest(region: &Region) -> Result<Place, ReadError> {
    Ok(newest_since(region, None)?.place)
}

/// The end of the ring, at the cost of the frames since the one that an earlier search found.
///
/// Without `seen`, or when that is overwritten by now, of up to half a ring of frames.
pub fn newest_since(region: &Region, seen: Option<u64>) -> Result<Newest, ReadError> {
    let frame = Cell::new(seen);
    // Where a frame once started one starts for ever: positions are never used again.
    let place = from(region, header::MIDWAY, seen.unwrap_or(0), |found| {
        frame.set(Some(found.position));
        None
    })?;
    Ok(Newest { place, frame: frame.get() })
}

/// The row asked for; the oldest one there if it is gone, behind the newest if it is yet to come.
pub fn row(region: &Region, row: u64) -> Result<Place, ReadError> {
    row_since(region, row, 0)
}

/// The same, from the frame at `seen` or from the half-ring mark if the row lies behind one of them.
pub fn row_since(region: &Region, row: u64, seen: u64) -> Result<Place, ReadError> {
    let head = region.header(header::WRITE_HEAD).load(Ordering::Acquire);
    let before = |position: &u64| {
        let frame = FrameHeader::look(region, *position, head).ok().flatten();
        frame.is_some_and(|frame| frame.first_row <= row)
    };
    let midway = region.header(header::MIDWAY).load(Ordering::Relaxed);
    let known = [seen, midway].into_iter().filter(before).max().unwrap_or(0);
    from(region, header::OLDEST, known, |frame| (frame.end_row() > row).then(|| row.saturating_sub(frame.first_row)))
}

/// Walk from a header's place, or from a frame known to lie further on, to the first frame for which
/// `stop` tells how many rows to skip, else behind the last row.
///
/// Once anything was written there is always a frame; a walk that meets none has seen the head of a
/// moment ago, and starts over.
fn from(
    region: &Region,
    start: usize,
    known: u64,
    stop: impl Fn(&FrameHeader) -> Option<u64>,
) -> Result<Place, ReadError> {
    let mut start = start;
    for _ in 0..ATTEMPTS {
        // Hints where to start: it is `write_head` that makes what lies there visible.
        let position = known.max(region.header(start).load(Ordering::Relaxed));
        let position = position.max(region.header(header::OLDEST).load(Ordering::Relaxed));
        let head = region.header(header::WRITE_HEAD).load(Ordering::Acquire);
        if head == 0 {
            return Ok(Place { position: 0, rows_before: 0, row: 0, sequence: 0 });
        }
        if let Some(place) = walk(region, position, head, &stop)? {
            return Ok(place);
        }
        start = header::MIDWAY;
        yield_now();
    }
    Err(Corrupt { position: 0, reason: "the producer kept overtaking the reader" }.into())
}

fn walk(
    region: &Region,
    mut position: u64,
    head: u64,
    stop: &impl Fn(&FrameHeader) -> Option<u64>,
) -> Result<Option<Place>, ReadError> {
    let mut place = None;
    while position < head {
        let Some(frame) = FrameHeader::look(region, position, head)? else {
            return Ok(None);
        };
        if frame.kind != kind::PADDING
            && let Some(rows_before) = stop(&frame)
        {
            return Ok(Some(Place::in_frame(&frame, frame.first_row + rows_before)));
        }
        position = frame.end();
        place = Some(if frame.sealed { Place::behind(&frame) } else { Place::in_frame(&frame, frame.end_row()) });
    }
    Ok(place)
}

/// First row of the frame at a position, if one is there and not overwritten.
pub fn row_at(region: &Region, position: u64) -> Option<u64> {
    let head = region.header(header::WRITE_HEAD).load(Ordering::Acquire);
    if position == head {
        return newest(region).ok().map(|place| place.row);
    }
    if position > head {
        return None;
    }
    FrameHeader::look(region, position, head).ok().flatten().map(|frame| frame.first_row)
}
