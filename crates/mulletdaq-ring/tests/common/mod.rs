//! A schema, and a check of every row that comes back.
#![allow(missing_docs, dead_code, reason = "shared by test programs that each use a part")]

use mulletdaq_ring::cursor::{Cursor, Delivery};
use mulletdaq_ring::error::WriteError;
use mulletdaq_ring::layout::kind;
use mulletdaq_ring::producer::{Bits, Producer};
use mulletdaq_ring::region::Region;
use mulletdaq_ring::walk;

pub const MESSAGE: &[u8] = b"schema!!";
const TEMPLATE_BYTES: u32 = 192;

/// `timestamp` (l), `value` (g), `small` (s), `flag` (b): the template's places lie in 192 zero bytes.
pub fn schema_region() -> Vec<u8> {
    let mut table = Vec::new();
    for (name, format, width_bits) in
        [("timestamp", "l", 64u64), ("value", "g", 64), ("small", "s", 16), ("flag", "b", 1)]
    {
        table.extend(width_bits.to_le_bytes());
        table.extend((name.len() as u32).to_le_bytes());
        table.extend((format.len() as u32).to_le_bytes());
        table.extend(name.bytes());
        table.extend(format.bytes());
        table.resize(table.len().next_multiple_of(8), 0);
    }
    let mut region = MESSAGE.to_vec();
    region.extend((table.len() as u32 + 8).to_le_bytes());
    region.extend(4u32.to_le_bytes());
    region.extend(table);
    let (nodes, buffers) = (4u32, 8u32);
    for field in [TEMPLATE_BYTES, nodes, buffers, 0, 8, 16, 80 - 16, 0] {
        region.extend(field.to_le_bytes());
    }
    for _ in 0..nodes {
        region.extend(1u64.to_le_bytes());
    }
    for buffer in 0..u64::from(buffers) {
        let column = if buffer % 2 == 0 { u64::MAX } else { buffer / 2 };
        region.extend(column.to_le_bytes());
    }
    region.resize(region.len() + TEMPLATE_BYTES as usize, 0xEE);
    region
}

pub fn producer(region: &Region) -> Producer {
    let mut producer = Producer::reopen(region.clone(), 7).expect("a ring that can be gone on with");
    producer.set_schema(&schema_region(), MESSAGE.len()).expect("the schema of all tests");
    producer
}

/// Row `row` of the pattern: every column tells which row it is.
fn row_values(row: u64) -> (u64, f64, u16, u64) {
    (row * 3, row as f64, row as u16, (row % 3) & 1)
}

pub fn append(producer: &mut Producer) {
    try_append(producer).expect("room");
}

pub fn try_append(producer: &mut Producer) -> Result<(), WriteError> {
    let (stamp, value, small, flag) = row_values(producer.row());
    producer.begin_row(1)?;
    producer.put(0, stamp);
    producer.put(1, value.to_bits());
    producer.put(2, u64::from(small));
    producer.put(3, flag);
    producer.commit_row(1);
    Ok(())
}

pub fn append_block(producer: &mut Producer, rows: u64) {
    try_block(producer, rows).expect("room");
}

pub fn try_block(producer: &mut Producer, rows: u64) -> Result<(), (u64, WriteError)> {
    let first = producer.row();
    let values: Vec<_> = (first..first + rows).map(row_values).collect();
    let stamps: Vec<u8> = values.iter().flat_map(|row| row.0.to_le_bytes()).collect();
    let numbers: Vec<u8> = values.iter().flat_map(|row| row.1.to_le_bytes()).collect();
    let smalls: Vec<u8> = values.iter().flat_map(|row| row.2.to_le_bytes()).collect();
    // The flags start at an odd bit, as a sliced Arrow column's may.
    let mut flags = vec![0u8; (rows as usize + 3) / 8 + 1];
    for (index, row) in values.iter().enumerate() {
        flags[(index + 3) / 8] |= (row.3 as u8) << ((index + 3) % 8);
    }
    let columns = [(&stamps, 0), (&numbers, 0), (&smalls, 0), (&flags, 3)];
    let columns = columns.map(|(bytes, first_bit)| Bits { bytes, first_bit });
    producer.append_block(rows, &columns, 1)
}

/// Payload of a message that carries `rows` rows from `first` on.
pub fn message(first: u64, rows: u64, bytes: usize) -> Vec<u8> {
    let mut payload = [first.to_le_bytes(), rows.to_le_bytes()].concat();
    payload.resize(16 + bytes, first as u8);
    payload
}

pub fn write_arrow(producer: &mut Producer, rows: u64, bytes: usize) {
    try_arrow(producer, rows, bytes).expect("room");
}

pub fn try_arrow(producer: &mut Producer, rows: u64, bytes: usize) -> Result<u64, WriteError> {
    let payload = message(producer.row(), rows, bytes);
    producer.write_arrow(&payload, rows, 1)
}

/// Check that a delivery holds exactly the rows it says it holds.
pub fn check(delivery: &Delivery, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (first, rows) = (delivery.first_row, delivery.rows);
    if delivery.kind == kind::ROWS {
        check_rows(&bytes[TEMPLATE_BYTES as usize..], &bytes, first, rows);
        assert_eq!(delivery.bytes as usize, bytes.len());
    } else {
        let frame_first = first - delivery.skip;
        let found_rows = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        let expected = message(frame_first, found_rows, delivery.bytes as usize - 16);
        assert_eq!(bytes[..delivery.bytes as usize], expected, "a message changed on its way");
        assert!(delivery.skip + rows <= found_rows);
    }
}

fn check_rows(body: &[u8], message: &[u8], first: u64, rows: u64) {
    let up = |bytes: u64| bytes.next_multiple_of(64) as usize;
    let values_at = up(rows * 8);
    let smalls_at = values_at + up(rows * 8);
    let flags_at = smalls_at + up(rows * 2);
    for index in 0..rows as usize {
        let (stamp, value, small, flag) = row_values(first + index as u64);
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        assert_eq!(word(8 * index), stamp, "timestamp of row {}", first + index as u64);
        assert_eq!(f64::from_bits(word(values_at + 8 * index)), value);
        assert_eq!(&body[smalls_at + 2 * index..][..2], &small.to_le_bytes());
        assert_eq!(u64::from(body[flags_at + index / 8] >> (index % 8) & 1), flag);
    }
    assert_eq!(u64::from_le_bytes(message[8..16].try_into().unwrap()), rows, "patched batch length");
}

/// Read all there is, checking each delivery and that rows and losses leave no gap.
pub fn drain(cursor: &mut Cursor) -> (u64, u64) {
    let (mut rows, mut lost) = (0, 0);
    let mut words = Vec::new();
    loop {
        let before = cursor.row();
        let Some(delivery) = cursor.read(u64::MAX, &mut words).expect("a sound ring") else {
            break;
        };
        check(&delivery, &words);
        let gap = delivery.loss.map_or(0, |loss| {
            assert_eq!(loss.first_row, before);
            loss.rows
        });
        assert_eq!(delivery.first_row, before + gap);
        assert_eq!(cursor.row(), delivery.first_row + delivery.rows);
        rows += delivery.rows;
        lost += gap;
    }
    (rows, lost)
}

pub fn oldest(region: &Region) -> Cursor {
    Cursor::at(region.clone(), walk::oldest(region).expect("a sound ring"))
}

pub fn from_start(region: &Region) -> Cursor {
    Cursor::resume(region.clone(), 0, 0, Some(0)).expect("row 0 was at position 0")
}
