//! A producer stopped before any of its stores leaves a ring that is read and gone on with.
#![allow(missing_docs)]
#![cfg(not(loom))]

mod common;

use common::{append, append_block, drain, from_start, producer, write_arrow};
use mulletdaq_ring::cursor::Cursor;
use mulletdaq_ring::layout::header;
use mulletdaq_ring::producer::Producer;
use mulletdaq_ring::region::Region;
use mulletdaq_ring::sync::{Ordering, stop_before_store};
use std::panic::{AssertUnwindSafe, catch_unwind};

const CAPACITY: u64 = 4096;

/// Run `work` until its store number `stop`; true if it came to its end before.
fn stopped(stop: u64, work: impl FnOnce()) -> bool {
    stop_before_store(Some(stop));
    let result = catch_unwind(AssertUnwindSafe(work));
    stop_before_store(None);
    match result {
        Ok(()) => true,
        Err(panic) if panic.downcast_ref::<&str>() == Some(&"stopped before a store") => false,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Stop `work` at every store, and its reopening at every store, and check the ring each time.
fn kill_everywhere(prepare: impl Fn(&mut Producer), work: impl Fn(&mut Producer)) -> u64 {
    std::panic::set_hook(Box::new(|_| {}));
    let mut states = 0;
    for stop in 0.. {
        let mut finished = false;
        for reopen_stop in 0.. {
            let region = Region::heap(CAPACITY, 4096);
            let mut writer = producer(&region);
            prepare(&mut writer);
            let before = writer.row();
            let mut reader = from_start(&region);
            let (read, lost) = drain(&mut reader);
            assert_eq!(read + lost, before);

            finished = stopped(stop, || work(&mut writer));
            let intent = region.header(header::WRITE_INTENT).load(Ordering::Relaxed);
            drop(writer);
            check_readable(&region, &mut reader);

            let reopened = stopped(reopen_stop, || drop(Producer::reopen(region.clone(), 5).expect("reopens")));
            check_readable(&region, &mut reader);

            let mut writer = producer(&region);
            assert!(region.header(header::WRITE_INTENT).load(Ordering::Relaxed) >= intent, "write_intent fell");
            let row = writer.row();
            assert!(row >= before, "rows that were published are gone");
            check_readable(&region, &mut reader);
            assert_eq!(reader.row(), row, "the reader and the new producer agree on the next row");
            append(&mut writer);
            write_arrow(&mut writer, 2, 30);
            append_block(&mut writer, 40);
            assert_eq!(writer.row(), row + 43);
            let (read, lost) = drain(&mut reader);
            assert_eq!(read + lost, 43, "rows go on unbroken");
            let (read, lost) = drain(&mut from_start(&region));
            assert_eq!(read + lost, row + 43);
            states += 1;
            if reopened {
                break;
            }
        }
        if finished {
            break;
        }
    }
    let _ = std::panic::take_hook();
    println!("{states} states");
    states
}

fn check_readable(region: &Region, reader: &mut Cursor) {
    drain(reader);
    drain(&mut common::oldest(region));
}

#[test]
fn at_every_store_of_a_message() {
    let states = kill_everywhere(|writer| write_arrow(writer, 3, 100), |writer| write_arrow(writer, 2, 100));
    assert!(states > 100);
}

#[test]
fn at_every_store_of_a_message_that_wraps() {
    let prepare = |writer: &mut Producer| {
        for _ in 0..4 {
            write_arrow(writer, 1, 860);
        }
    };
    // 64 bytes are left at the ring's end, so the claim is padding and frame.
    let states = kill_everywhere(prepare, |writer| write_arrow(writer, 2, 200));
    assert!(states > 100);
}

#[test]
fn at_every_store_of_rows() {
    let work = |writer: &mut Producer| {
        append(writer);
        append(writer);
        writer.seal(3);
    };
    assert!(kill_everywhere(|_| {}, work) > 50);
    assert!(kill_everywhere(|writer| append_block(writer, 200), work) > 50);
}

#[test]
fn at_every_store_of_a_block_over_many_frames() {
    assert!(kill_everywhere(append, |writer| append_block(writer, 30)) > 100);
}

#[test]
fn an_intent_that_fell_would_let_foreign_bytes_pass() {
    use mulletdaq_ring::frame;
    let region = Region::heap(CAPACITY, 4096);
    let mut writer = producer(&region);
    for _ in 0..4 {
        write_arrow(&mut writer, 1, 860);
    }
    // A reader has begun to copy the oldest frame …
    let reading = region.header(header::OLDEST).load(Ordering::Relaxed);
    assert!(frame::intact(&region, reading));
    // … when a producer claims its place, and is killed in the middle of writing over it.
    std::panic::set_hook(Box::new(|_| {}));
    assert!(!stopped(30, || write_arrow(&mut writer, 1, 860)));
    let _ = std::panic::take_hook();
    drop(writer);
    assert!(!frame::intact(&region, reading));
    // A reopening that set the intent back to the head would call the torn copy whole.
    let head = region.header(header::WRITE_HEAD).load(Ordering::Relaxed);
    let intent = region.header(header::WRITE_INTENT).load(Ordering::Relaxed);
    region.header(header::WRITE_INTENT).store(head, Ordering::Release);
    assert!(frame::intact(&region, reading));
    region.header(header::WRITE_INTENT).store(intent, Ordering::Release);
    // Ours does not.
    producer(&region);
    assert!(!frame::intact(&region, reading));
}
