//! Finding frames by their headers, as a reader that may be overtaken at any time.

use crate::error::{Corrupt, ReadError};
use crate::frame::FrameHeader;
use crate::layout::{header, kind};
use crate::region::Region;
use crate::sync::{Ordering, yield_now};

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

/// The oldest row that is still there.
pub fn oldest(region: &Region) -> Result<Place, ReadError> {
    from(region, header::OLDEST, |_| Some(0))
}

/// Behind the newest row, open frame included.
pub fn newest(region: &Region) -> Result<Place, ReadError> {
    from(region, header::MIDWAY, |_| None)
}

/// The row asked for; the oldest one there if it is gone, behind the newest if it is yet to come.
pub fn row(region: &Region, row: u64) -> Result<Place, ReadError> {
    from(region, header::OLDEST, |frame| (frame.end_row() > row).then(|| row.saturating_sub(frame.first_row)))
}

/// Walk from a header's place to the first frame for which `stop` tells how many rows to skip, else
/// behind the last row.
///
/// Once anything was written there is always a frame; a walk that meets none has seen the head of a
/// moment ago, and starts over.
fn from(region: &Region, start: usize, stop: impl Fn(&FrameHeader) -> Option<u64>) -> Result<Place, ReadError> {
    let mut start = start;
    for _ in 0..ATTEMPTS {
        // Hints where to start: it is `write_head` that makes what lies there visible.
        let position = region.header(start).load(Ordering::Relaxed);
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

/// Position of the newest frame that holds rows.
pub fn newest_frame(region: &Region) -> Result<Option<u64>, ReadError> {
    let newest = core::cell::Cell::new(None);
    from(region, header::MIDWAY, |frame| {
        newest.set(Some(frame.position));
        None
    })?;
    Ok(newest.get())
}
