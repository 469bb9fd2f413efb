//! `cargo +nightly fuzz run hostile_ring`, in crates/mulletdaq-ring.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/hostile.rs"]
mod hostile;

use libfuzzer_sys::fuzz_target;
use mulletdaq_ring::producer::Producer;

fn rows(producer: &mut Producer) {
    producer.set_schema(&common::schema_region(), common::MESSAGE.len()).expect("a new ring");
    common::append_block(producer, 500);
    common::write_arrow(producer, 3, 700);
    common::append(producer);
}

fuzz_target!(|data: &[u8]| hostile::attack(data, rows));
