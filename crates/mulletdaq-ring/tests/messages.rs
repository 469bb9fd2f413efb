//! Opaque messages come back whole, in whichever of the two ways they are read, however late the reader is.
#![allow(missing_docs)]
#![cfg(not(loom))]

use mulletdaq_ring::cursor::{Cursor, Delivery};
use mulletdaq_ring::producer::Producer;
use mulletdaq_ring::region::Region;
use mulletdaq_ring::walk;
use proptest::prelude::*;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

const CAPACITY: u64 = 1 << 14;

/// Message number `row`: its number, again and again, of a length that follows from it.
fn message(row: u64) -> Vec<u8> {
    let length = (row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % (CAPACITY as usize / 4 - 64);
    row.to_le_bytes().into_iter().cycle().take(length).collect()
}

fn ring() -> (Region, Producer) {
    let region = Region::heap(CAPACITY, 0);
    (region.clone(), Producer::reopen(region, 1).expect("an empty ring"))
}

/// The next message, copied to where it is to stay; `None` where that is not possible now.
fn exact(cursor: &mut Cursor) -> Option<(Delivery, Vec<u8>)> {
    let length = cursor.next_message_bytes()?;
    let mut room = vec![MaybeUninit::new(0xEE); length as usize];
    let delivery = cursor.read_message(&mut room).expect("a sound ring")?;
    // SAFETY: all were initialized when they were made.
    Some((delivery, room.into_iter().map(|byte| unsafe { byte.assume_init() }).collect()))
}

/// The next message, whatever it is.
fn whatever(cursor: &mut Cursor) -> Option<(Delivery, Vec<u8>)> {
    let mut words = Vec::new();
    let delivery = cursor.read(1, &mut words).expect("a sound ring")?;
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).take(delivery.bytes as usize).collect();
    Some((delivery, bytes))
}

fn read(cursor: &mut Cursor, exactly: bool) -> Option<u64> {
    let before = cursor.row();
    let (delivery, bytes) = exactly.then(|| exact(cursor)).flatten().or_else(|| whatever(cursor))?;
    assert_eq!(bytes, message(delivery.first_row));
    assert_eq!(delivery.bytes, bytes.len() as u64);
    let lost = delivery.loss.map_or(0, |loss| loss.rows);
    assert_eq!(delivery.first_row, before + lost, "messages delivered and lost leave no gap");
    assert_eq!(cursor.row(), delivery.first_row + 1);
    Some(lost)
}

proptest! {
    #[test]
    fn every_message_is_read_or_counted(turns in prop::collection::vec((0u64..30, 0usize..30, any::<bool>()), 1..40)) {
        let (region, mut producer) = ring();
        let mut cursor = Cursor::at(region.clone(), walk::oldest(&region).unwrap());
        let (mut read_rows, mut lost_rows) = (0, 0);
        for (written, reads, exactly) in turns {
            for _ in 0..written {
                let row = producer.row();
                producer.write_opaque(&message(row), row).expect("old messages go");
            }
            for _ in 0..reads {
                let Some(lost) = read(&mut cursor, exactly) else { break };
                read_rows += 1;
                lost_rows += lost;
            }
            prop_assert_eq!(cursor.row(), read_rows + lost_rows);
            prop_assert_eq!(cursor.lost_rows(), lost_rows);
        }
        while let Some(lost) = read(&mut cursor, true) {
            read_rows += 1;
            lost_rows += lost;
        }
        prop_assert_eq!(read_rows + lost_rows, producer.row());
    }
}

#[test]
fn a_reader_beside_the_producer_never_has_a_torn_message() {
    let (region, mut producer) = ring();
    let ended = AtomicBool::new(false);
    let (read_rows, lost_rows, row) = std::thread::scope(|scope| {
        let mut cursor = Cursor::at(region.clone(), walk::oldest(&region).unwrap());
        let ended = &ended;
        let reader = scope.spawn(move || {
            let mut read_rows = 0;
            loop {
                let over = ended.load(Ordering::Acquire);
                while read(&mut cursor, true).is_some() {
                    read_rows += 1;
                }
                if over {
                    return (read_rows, cursor.lost_rows(), cursor.row());
                }
            }
        });
        for row in 0..200_000 {
            producer.write_opaque(&message(row), row).expect("old messages go");
        }
        ended.store(true, Ordering::Release);
        reader.join().expect("no message is torn")
    });
    assert_eq!((read_rows + lost_rows, row), (200_000, 200_000));
    assert!(read_rows > 0);
}

#[test]
fn what_is_no_message_of_that_length_is_left_to_read() {
    let (region, mut producer) = ring();
    let mut cursor = Cursor::at(region.clone(), walk::oldest(&region).unwrap());
    assert_eq!(cursor.next_message_bytes(), None);
    assert_eq!(cursor.read_message(&mut []).unwrap(), None);
    producer.write_opaque(b"four", 1).unwrap();
    assert_eq!(cursor.next_message_bytes(), Some(4));
    assert_eq!(cursor.read_message(&mut [MaybeUninit::uninit(); 5]).unwrap(), None);
    assert_eq!(cursor.row(), 0);
    assert_eq!(exact(&mut cursor).unwrap().1, b"four");
    assert_eq!(cursor.next_message_bytes(), None);
}
