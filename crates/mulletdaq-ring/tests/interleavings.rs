//! The shipped producer and cursor under loom, which tries every interleaving and every value that
//! the memory model lets a load return, on small frames: `make loom`.
#![cfg(loom)]
#![allow(missing_docs)]

use loom::thread;
use mulletdaq_ring::cursor::{Cursor, Delivery};
use mulletdaq_ring::layout::{FRAME_HEADER_BYTES, header, kind};
use mulletdaq_ring::producer::{Bits, Producer};
use mulletdaq_ring::region::Region;
use mulletdaq_ring::sync::Ordering;
use mulletdaq_ring::walk;
use std::mem::MaybeUninit;

/// A frame with one word of payload.
const FRAME: u64 = FRAME_HEADER_BYTES + 8;
const MESSAGE: &[u8] = b"schema!!";
const TEMPLATE_WORDS: u64 = 1;

fn check_all(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// One column of int64; a template of one word, which is the batch's length.
fn schema_region() -> Vec<u8> {
    let mut region = MESSAGE.to_vec();
    region.extend([32u32, 1].map(u32::to_le_bytes).concat());
    region.extend(64u64.to_le_bytes());
    region.extend([1u32, 1].map(u32::to_le_bytes).concat());
    region.extend(b"xl\0\0\0\0\0\0");
    region.extend([8 * TEMPLATE_WORDS as u32, 0, 0, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    region.extend([0; 8 * TEMPLATE_WORDS as usize]);
    region
}

fn rows_region(frames: u64, rows_a_frame: u64) -> (Region, Producer) {
    let span = FRAME_HEADER_BYTES + 8 * TEMPLATE_WORDS + 8 * rows_a_frame;
    let region = Region::heap(frames * span, 128);
    let mut producer = Producer::reopen(region.clone(), 0).unwrap();
    producer.set_schema(&schema_region(), MESSAGE.len()).unwrap();
    producer.set_row_capacity(rows_a_frame);
    (region, producer)
}

/// What row `row` holds: never 0, which an unwritten word holds.
fn value(row: u64) -> u64 {
    100 + row
}

fn append(producer: &mut Producer) {
    let value = value(producer.row());
    producer.begin_row(0).unwrap();
    producer.put(0, value);
    producer.commit_row(0);
}

fn write(producer: &mut Producer) {
    let payload = value(producer.row()).to_le_bytes();
    producer.write_opaque(&payload, 0).unwrap();
}

/// The next opaque message, in the way that copies it to where it stays.
fn message(cursor: &mut Cursor, into: &mut Vec<u64>) -> Option<Delivery> {
    let mut room = vec![MaybeUninit::new(0); cursor.next_message_bytes()? as usize];
    let delivery = cursor.read_message(&mut room).unwrap()?;
    // SAFETY: all were initialized when they were made.
    let bytes: Vec<u8> = room.into_iter().map(|byte| unsafe { byte.assume_init() }).collect();
    *into = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    Some(delivery)
}

/// Read up to `reads` times; every value must be its row's, and rows and losses leave no gap.
fn read(cursor: &mut Cursor, reads: usize) -> u64 {
    let mut words = Vec::new();
    for _ in 0..reads {
        let before = cursor.row();
        let next = message(cursor, &mut words).or_else(|| cursor.read(u64::MAX, &mut words).unwrap());
        let Some(delivery) = next else { continue };
        let skipped = if delivery.kind == kind::ROWS { TEMPLATE_WORDS as usize } else { 0 };
        let values = &words[skipped..];
        assert_eq!(values.len() as u64, delivery.rows);
        for (index, &found) in values.iter().enumerate() {
            assert_eq!(found, value(delivery.first_row + index as u64), "a value is not its row's");
        }
        let lost = delivery.loss.map_or(0, |loss| loss.rows);
        assert_eq!(delivery.first_row, before + lost);
    }
    cursor.row()
}

fn cursor(region: &Region) -> Cursor {
    Cursor::at(region.clone(), walk::oldest(region).unwrap())
}

/// A producer's work against a reader's; afterwards everything is delivered or counted.
fn against_reader(
    region: Region,
    mut producer: Producer,
    work: impl FnOnce(&mut Producer) + Send + 'static,
    reads: usize,
) {
    let mut reader = cursor(&region);
    let writing = thread::spawn(move || {
        work(&mut producer);
        producer.row()
    });
    read(&mut reader, reads);
    let written = writing.join().unwrap();
    while reader.row() < written {
        read(&mut reader, 1);
    }
}

#[test]
fn claim_and_publish_a_message() {
    check_all(|| {
        let region = Region::heap(2 * FRAME, 0);
        let producer = Producer::reopen(region.clone(), 0).unwrap();
        against_reader(region, producer, |producer| write(producer), 2);
    });
}

#[test]
fn lap_a_reader_with_messages() {
    check_all(|| {
        let region = Region::heap(2 * FRAME, 0);
        let mut producer = Producer::reopen(region.clone(), 0).unwrap();
        write(&mut producer);
        write(&mut producer);
        against_reader(region, producer, |producer| write(producer), 1);
    });
}

#[test]
fn a_sink_that_is_waited_for_is_never_overtaken() {
    check_all(|| {
        let region = Region::heap(2 * FRAME, 0);
        let mut producer = Producer::reopen(region.clone(), 0).unwrap();
        write(&mut producer);
        write(&mut producer);
        producer.set_keep_uncommitted(true);
        let mut sink = cursor(&region);
        let writing = thread::spawn(move || {
            let payload = value(producer.row()).to_le_bytes();
            let _ = producer.write_opaque(&payload, 0);
            producer.row()
        });
        read(&mut sink, 1);
        region.header(header::READ_TAIL).store(sink.position(), Ordering::Release);
        let written = writing.join().unwrap();
        while sink.row() < written {
            read(&mut sink, 1);
        }
        assert_eq!(sink.lost_rows(), 0);
    });
}

/// A walk beside a producer finds a place at which a cursor reads on.
fn walk_beside_a_producer(find: fn(&Region) -> Result<walk::Place, mulletdaq_ring::error::ReadError>) {
    check_all(move || {
        let region = Region::heap(2 * FRAME, 0);
        let mut producer = Producer::reopen(region.clone(), 0).unwrap();
        write(&mut producer);
        let writing = thread::spawn(move || {
            write(&mut producer);
            producer.row()
        });
        let place = find(&region).unwrap();
        let written = writing.join().unwrap();
        let mut reader = Cursor::at(region.clone(), place);
        while reader.row() < written {
            read(&mut reader, 1);
        }
    });
}

#[test]
fn walk_to_the_oldest() {
    walk_beside_a_producer(walk::oldest);
}

#[test]
fn walk_to_the_newest() {
    walk_beside_a_producer(walk::newest);
}

#[test]
fn walk_on_from_what_was_seen() {
    check_all(|| {
        let region = Region::heap(2 * FRAME, 0);
        let mut producer = Producer::reopen(region.clone(), 0).unwrap();
        write(&mut producer);
        write(&mut producer);
        let seen = walk::newest_since(&region, None).unwrap();
        let writing = thread::spawn(move || {
            write(&mut producer);
            write(&mut producer);
            producer.row()
        });
        let newest = walk::newest_since(&region, seen.frame).unwrap();
        let written = writing.join().unwrap();
        assert!(seen.place.row <= newest.place.row && newest.place.row <= written);
        assert!(seen.frame <= newest.frame);
    });
}

#[test]
fn append_to_an_open_frame() {
    check_all(|| {
        let (region, mut producer) = rows_region(2, 3);
        append(&mut producer);
        let work = |producer: &mut Producer| {
            append(producer);
            append(producer);
        };
        against_reader(region, producer, work, 2);
    });
}

#[test]
fn open_a_frame() {
    check_all(|| {
        let (region, producer) = rows_region(2, 2);
        against_reader(region, producer, |producer| append(producer), 2);
    });
}

#[test]
fn lap_a_reader_with_rows() {
    check_all(|| {
        let (region, mut producer) = rows_region(2, 1);
        append(&mut producer);
        append(&mut producer);
        against_reader(region, producer, |producer| append(producer), 1);
    });
}

#[test]
fn seal_under_a_reader() {
    check_all(|| {
        let (region, mut producer) = rows_region(2, 3);
        append(&mut producer);
        let work = |producer: &mut Producer| {
            append(producer);
            producer.seal(0);
        };
        against_reader(region, producer, work, 2);
    });
}

#[test]
fn publish_a_schema() {
    check_all(|| {
        let region = Region::heap(4 * FRAME, 128);
        let producer = Producer::reopen(region.clone(), 0).unwrap();
        let writing = {
            let mut producer = producer;
            thread::spawn(move || producer.set_schema(&schema_region(), MESSAGE.len()).unwrap())
        };
        if let Some(schema) = mulletdaq_ring::rows::Schema::load(&region) {
            let schema = schema.expect("a schema is whole once it is there");
            assert_eq!(schema.message, MESSAGE);
            assert_eq!(schema.columns[0].name, "x");
        }
        writing.join().unwrap();
    });
}

#[test]
fn blocks_are_rows() {
    check_all(|| {
        let (region, producer) = rows_region(2, 2);
        let work = |producer: &mut Producer| {
            let bytes = [value(0).to_le_bytes(), value(1).to_le_bytes()].concat();
            producer.append_block(2, &[Bits { bytes: &bytes, first_bit: 0 }], 0).unwrap();
        };
        against_reader(region, producer, work, 1);
    });
}
