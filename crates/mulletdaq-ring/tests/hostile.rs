//! 10,000 scribbled rings, seeded; the fuzz target beside this crate goes on from there.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use common::{MESSAGE, append, append_block, message, schema_region, write_arrow};
use mulletdaq_ring::producer::Producer;

fn rows(producer: &mut Producer) {
    producer.set_schema(&schema_region(), MESSAGE.len()).expect("a new ring");
    append_block(producer, 500);
    write_arrow(producer, 3, 700);
    append(producer);
}

fn messages(producer: &mut Producer) {
    for row in 0..40 {
        producer.write_opaque(&message(row, 1, row as usize * 20), 1).expect("room");
    }
}

/// A generator of our own, so that a seed means the same for ever (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    };
    let changes = 1 + next() % 6;
    (0..changes).flat_map(|_| next().to_le_bytes().into_iter().take(5)).collect()
}

#[test]
fn scribbled_rings_of_rows() {
    for seed in 0..5000 {
        hostile::attack(&bytes(seed), rows);
    }
}

#[test]
fn scribbled_rings_of_messages() {
    for seed in 0..5000 {
        hostile::attack(&bytes(seed), messages);
    }
}
