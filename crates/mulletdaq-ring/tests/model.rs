//! Any sequence of writes, reads and reopenings equals a model that keeps every row.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{append, check, producer, try_append, try_arrow, try_block};
use mulletdaq_ring::cursor::Cursor;
use mulletdaq_ring::error::WriteError;
use mulletdaq_ring::layout::{FRAME_HEADER_BYTES, header};
use mulletdaq_ring::producer::Producer;
use mulletdaq_ring::region::Region;
use mulletdaq_ring::sync::Ordering;
use mulletdaq_ring::walk;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Block(u16),
    Message { rows: u8, bytes: u16 },
    Seal,
    Reopen,
    Read { cursor: u8, max_rows: u16 },
    NewCursor { latest: bool },
    CursorAtRow(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..20).prop_map(Step::Append),
        3 => (1u16..700).prop_map(Step::Block),
        3 => (1u8..9, 0u16..900).prop_map(|(rows, bytes)| Step::Message { rows, bytes }),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
        6 => (any::<u8>(), 1u16..500).prop_map(|(cursor, max_rows)| Step::Read { cursor, max_rows }),
        1 => any::<bool>().prop_map(|latest| Step::NewCursor { latest }),
        1 => any::<u16>().prop_map(Step::CursorAtRow),
    ]
}

struct Reader {
    cursor: Cursor,
    next_row: u64,
    lost: u64,
}

impl Reader {
    fn new(cursor: Cursor) -> Self {
        Self { next_row: cursor.row(), cursor, lost: 0 }
    }

    /// One read; returns whether there was anything.
    fn read(&mut self, max_rows: u64, written: u64) -> bool {
        let mut words = Vec::new();
        let Some(delivery) = self.cursor.read(max_rows, &mut words).expect("a sound ring") else {
            assert!(self.cursor.row() == written || self.cursor.row() == self.next_row);
            return false;
        };
        check(&delivery, &words);
        let lost = delivery.loss.map_or(0, |loss| loss.rows);
        assert_eq!(delivery.first_row, self.next_row + lost, "rows delivered and lost leave no gap");
        assert!(delivery.rows <= max_rows && delivery.first_row + delivery.rows <= written);
        self.lost += lost;
        self.next_row = delivery.first_row + delivery.rows;
        assert_eq!(self.cursor.lost_rows(), self.lost);
        true
    }
}

/// `keep`: the first reader is the persisting sink, and nothing that it has not taken is overwritten.
fn run(capacity: u64, keep: bool, steps: Vec<Step>) {
    let region = Region::heap(capacity, 4096);
    let mut writer: Producer = producer(&region);
    writer.set_keep_uncommitted(keep);
    let mut readers = vec![Reader::new(common::oldest(&region))];
    // What earlier searches found; by now the producer may have written over it.
    let (mut seen, mut searched) = (None, 0);
    for step in steps {
        match step {
            Step::Append(rows) => {
                let full = (0..rows).map(|_| try_append(&mut writer)).any(|result| result.is_err());
                assert!(keep || !full);
            }
            Step::Block(rows) => {
                let before = writer.row();
                match try_block(&mut writer, u64::from(rows)) {
                    Ok(()) => assert_eq!(writer.row(), before + u64::from(rows)),
                    Err((written, error)) => {
                        assert!(keep && error == WriteError::Full);
                        assert_eq!(writer.row(), before + written, "as many as it says");
                    }
                }
            }
            Step::Message { rows, bytes } => {
                let room = capacity / 4 - FRAME_HEADER_BYTES - 16;
                let before = writer.row();
                let result = try_arrow(&mut writer, u64::from(rows), u64::from(bytes).min(room) as usize);
                assert!(keep || result.is_ok());
                assert_eq!(writer.row(), before + if result.is_ok() { u64::from(rows) } else { 0 });
            }
            Step::Seal => writer.seal(1),
            Step::Reopen => {
                let (row, sequence) = (writer.row(), writer.sequence());
                // Dropped as a kill would: nothing is sealed.
                drop(writer);
                writer = producer(&region);
                writer.set_keep_uncommitted(keep);
                assert_eq!((writer.row(), writer.sequence()), (row, sequence), "rows and sequence go on unbroken");
            }
            Step::Read { cursor, max_rows } => {
                let index = usize::from(cursor) % readers.len();
                readers[index].read(u64::from(max_rows), writer.row());
                if keep && index == 0 {
                    region.header(header::READ_TAIL).store(readers[0].cursor.position(), Ordering::Release);
                }
            }
            Step::NewCursor { latest } => {
                let place = if latest { walk::newest(&region) } else { walk::oldest(&region) }.unwrap();
                if latest {
                    assert_eq!(place.row, writer.row());
                    seen = walk::newest_since(&region, seen).unwrap().frame;
                }
                readers.push(Reader::new(Cursor::at(region.clone(), place)));
            }
            Step::CursorAtRow(row) => {
                let wanted = u64::from(row) % (writer.row() + 10);
                let place = walk::row_since(&region, wanted, searched).unwrap();
                assert_eq!(place, walk::row(&region, wanted).unwrap());
                searched = place.position;
                let oldest = walk::oldest(&region).unwrap().row;
                assert_eq!(place.row, wanted.clamp(oldest, writer.row()));
                readers.push(Reader::new(Cursor::at(region.clone(), place)));
            }
        }
        let word = |index| region.header(index).load(Ordering::Relaxed);
        assert!(word(header::WRITE_INTENT) - word(header::OLDEST) <= capacity);
        let newest = walk::newest(&region).unwrap();
        assert_eq!(newest.row, writer.row());
        assert_eq!(walk::newest_since(&region, seen).unwrap().place, newest);
    }
    for reader in &mut readers {
        while reader.read(u64::MAX, writer.row()) {}
        assert_eq!(reader.next_row, writer.row(), "everything was delivered or counted as lost");
    }
}

/// Messages of any length, read now and then, the producer killed and taken over after each seventh.
fn run_opaque(lengths: &[usize], reads: &[bool]) {
    let region = Region::heap(4096, 64);
    let mut writer = Producer::reopen(region.clone(), 0).unwrap();
    let mut reader = Reader::new(common::oldest(&region));
    for (index, (&length, &read)) in lengths.iter().zip(reads).enumerate() {
        let payload = common::message(writer.row(), 1, length);
        writer.write_opaque(&payload, 3).expect("old messages go");
        assert_eq!(writer.row(), index as u64 + 1);
        if read {
            reader.read(1, writer.row());
        }
        if index % 7 == 6 {
            drop(writer);
            writer = Producer::reopen(region.clone(), 0).unwrap();
        }
    }
    while reader.read(1, writer.row()) {}
    assert_eq!(reader.next_row, lengths.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tiny_ring(steps in prop::collection::vec(step(), 1..120)) {
        run(4096, false, steps);
    }

    #[test]
    fn ring_that_waits_for_its_sink(steps in prop::collection::vec(step(), 1..150)) {
        run(20_032, true, steps);
    }

    #[test]
    fn opaque_messages(lengths in prop::collection::vec(0usize..900, 1..100), reads in prop::collection::vec(any::<bool>(), 100)) {
        run_opaque(&lengths, &reads);
    }

    #[test]
    fn odd_sized_ring(steps in prop::collection::vec(step(), 1..120)) {
        run(20_032, false, steps);
    }

    #[test]
    fn roomy_ring(steps in prop::collection::vec(step(), 1..200)) {
        run(1 << 18, false, steps);
    }
}

#[test]
fn opaque_messages_and_rows_do_not_mix() {
    let region = Region::heap(4096, 4096);
    let mut writer = Producer::reopen(region.clone(), 0).unwrap();
    let payload = common::message(0, 1, 5);
    assert_eq!(writer.write_opaque(&payload, 9).unwrap(), 0);
    assert!(writer.set_schema(&common::schema_region(), common::MESSAGE.len()).is_err());
    assert_eq!(common::drain(&mut common::oldest(&region)), (1, 0));

    let region = Region::heap(4096, 4096);
    let mut writer = producer(&region);
    assert!(writer.write_opaque(&payload, 9).is_err());
    append(&mut writer);
    assert_eq!(common::drain(&mut common::oldest(&region)), (1, 0));
}

#[test]
fn a_frame_larger_than_a_quarter_is_refused_with_a_capacity_that_would_do() {
    let region = Region::heap(4096, 64);
    let mut writer = Producer::reopen(region.clone(), 0).unwrap();
    let payload = vec![1; 2000];
    let Err(WriteError::TooLarge { sufficient_capacity, .. }) = writer.write_opaque(&payload, 0) else {
        panic!("a message of half the ring was taken")
    };
    assert_eq!(region.header(header::WRITE_HEAD).load(Ordering::Relaxed), 0);
    assert_eq!(region.flags(), 0, "a refused first write does not fix the content");
    let region = Region::heap(sufficient_capacity, 64);
    Producer::reopen(region, 0).unwrap().write_opaque(&payload, 0).unwrap();
}

#[test]
fn uncommitted_rows_are_kept_when_asked() {
    let region = Region::heap(4096, 64);
    let mut writer = Producer::reopen(region.clone(), 0).unwrap();
    writer.set_keep_uncommitted(true);
    let payload = [7; 60];
    let mut written = 0;
    while writer.write_opaque(&payload, 0).is_ok() {
        written += 1;
    }
    assert_eq!(written, 4096 / 128);
    assert_eq!(writer.write_opaque(&payload, 0), Err(WriteError::Full));
    region.header(header::READ_TAIL).store(256, Ordering::Release);
    assert!(writer.write_opaque(&payload, 0).is_ok());
    assert!(writer.write_opaque(&payload, 0).is_ok());
    assert_eq!(writer.write_opaque(&payload, 0), Err(WriteError::Full));
    assert_eq!(writer.rows_overwritten(), 0);
}
