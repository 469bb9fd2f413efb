//! Going on in a ring that an earlier producer left, in whatever state it was killed.
//!
//! Every step may be repeated: a kill during reopening leaves a ring that reopens.

use crate::error::{Corrupt, WriteError};
use crate::frame::FrameHeader;
use crate::layout::{self, header, kind};
use crate::producer::Producer;
use crate::region::Region;
use crate::rows::Schema;
use crate::sync::Ordering;

impl Producer {
    /// Take over a ring whose producer lock the caller holds; rows and sequence go on unbroken.
    ///
    /// Walks from the oldest frame to the head, seals a last frame that was left open at the rows it
    /// had committed, and turns what was claimed but never published into padding.
    pub fn reopen(region: Region, now_ns: u64) -> Result<Self, WriteError> {
        // The lock came from the last producer, and with it all that it stored.
        let head = region.header(header::WRITE_HEAD).load(Ordering::Relaxed);
        let oldest = region.header(header::OLDEST).load(Ordering::Relaxed);
        let intent = region.header(header::WRITE_INTENT).load(Ordering::Relaxed).max(head);
        check_places(&region, oldest, head, intent)?;
        let schema = match Schema::load(&region) {
            None => None,
            Some(Some(schema)) => Some(schema),
            Some(None) => {
                return Err(Corrupt { position: 0, reason: "the schema region contradicts itself" }.into());
            }
        };

        let sequence = region.header(header::NEXT_SEQUENCE).load(Ordering::Relaxed);
        let row = region.header(header::NEXT_ROW).load(Ordering::Relaxed);
        let mut producer = Self::at(region, head, oldest, sequence, row);
        producer.rows = schema.as_ref().and_then(|schema| schema.row_layout(producer.region.capacity()));
        producer.schema = schema;
        producer.last_stamp_ns = 0;

        if let Some(last) = producer.walk()? {
            producer.sequence = last.end_sequence();
            producer.row = last.end_row();
            if !last.sealed {
                producer.check_template(&last)?;
                producer.seal_frame(last, now_ns);
            }
        }
        producer.fill_claimed(intent);
        producer.heartbeat(now_ns);
        Ok(producer)
    }

    /// The last frame; every frame must follow on the one before.
    fn walk(&self) -> Result<Option<FrameHeader>, Corrupt> {
        let mut last: Option<FrameHeader> = None;
        let mut position = self.oldest;
        while position < self.head {
            let frame = FrameHeader::load_own(&self.region, position, self.head)?;
            if let Some(last) = last {
                let follows = frame.first_row == last.end_row() && frame.sequence == last.end_sequence();
                if !follows || !last.sealed {
                    return Err(Corrupt { position, reason: "it does not follow on the frame before" });
                }
            }
            position = frame.end();
            last = Some(frame);
        }
        Ok(last)
    }

    /// An open frame can only be sealed with the template that it was opened with.
    ///
    /// It may have room for another number of rows than this version would choose.
    fn check_template(&self, open: &FrameHeader) -> Result<(), Corrupt> {
        let fits = self.rows.as_ref().zip(self.schema.as_ref()).is_some_and(|(layout, schema)| {
            let body_bytes = schema.body_bytes(open.row_capacity as u64);
            open.kind == kind::ROWS
                && open.body_offset as u64 == layout.body_offset
                && open.length == layout.body_offset + body_bytes
        });
        let reason = "an open frame that does not have the schema's layout";
        if fits { Ok(()) } else { Err(Corrupt { position: open.position, reason }) }
    }

    /// Publish what a killed producer had claimed as padding, a piece at a time.
    fn fill_claimed(&mut self, intent: u64) {
        let capacity = self.region.capacity();
        while self.head < intent {
            let span = (intent - self.head).min(capacity - self.head % capacity);
            self.store_padding(self.head, span);
            self.head += span;
            self.region.header(header::WRITE_HEAD).store(self.head, Ordering::Release);
        }
    }
}

fn check_places(region: &Region, oldest: u64, head: u64, intent: u64) -> Result<(), Corrupt> {
    let capacity = region.capacity();
    let aligned = [oldest, head, intent].iter().all(|place| place.is_multiple_of(layout::ALIGN));
    let ordered = oldest <= head && head <= intent && intent - oldest <= capacity;
    if aligned && ordered && intent < u64::MAX / 4 {
        Ok(())
    } else {
        Err(Corrupt { position: head, reason: "the header's positions contradict each other" })
    }
}
