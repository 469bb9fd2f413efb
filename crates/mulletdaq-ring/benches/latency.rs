//! From one process's append to another's read, both native, the reader polling.
//!
//! Prints median and 99.9th percentile in nanoseconds.
#![allow(missing_docs)]

use mulletdaq_ring::cursor::Cursor;
use mulletdaq_ring::mapped::{MappedRing, NewRing};
use mulletdaq_ring::producer::Producer;
use mulletdaq_ring::walk;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SAMPLES: usize = 20_000;
const PAUSE: Duration = Duration::from_micros(50);

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// One int64 column, `x`, behind a template of 64 bytes whose places overlap: nobody reads the message.
fn schema_region() -> Vec<u8> {
    let mut region = b"schema!!".to_vec();
    region.extend([32u32, 1].map(u32::to_le_bytes).concat());
    region.extend(64u64.to_le_bytes());
    region.extend([1u32, 1].map(u32::to_le_bytes).concat());
    region.extend(b"xl\0\0\0\0\0\0");
    region.extend([64u32, 0, 0, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    region.extend([0; 64]);
    region
}

fn read(path: &Path) {
    let ring = MappedRing::open(path, None).expect("the ring that the parent made");
    let mut cursor = Cursor::at(ring.region().clone(), walk::oldest(ring.region()).expect("a sound ring"));
    let mut latencies = Vec::with_capacity(SAMPLES);
    let mut words = Vec::with_capacity(1 << 16);
    while latencies.len() < SAMPLES {
        let delivery = cursor.read(u64::MAX, &mut words).expect("a sound ring");
        if delivery.is_some_and(|delivery| delivery.rows > 0) {
            let now = now_ns();
            // The template's 64 bytes, then the stamps; the newest one tells the latency.
            let newest = words[8..].iter().rev().find(|&&stamp| stamp != 0).copied().unwrap_or(now);
            latencies.push(now.saturating_sub(newest));
        }
    }
    latencies.sort_unstable();
    println!("{} {}", latencies[SAMPLES / 2], latencies[SAMPLES - SAMPLES / 1000]);
}

fn main() {
    if let Some(path) = std::env::var_os("MULLETDAQ_LATENCY_RING") {
        return read(Path::new(&path));
    }
    let folder = if PathBuf::from("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let path = folder.join(format!("mulletdaq-latency-{}.ring", std::process::id()));
    let new = NewRing { capacity: 16 << 20, checksums: false, force: true, created_ns: now_ns() };
    let ring = MappedRing::create(&path, new).expect("room for a small ring");
    let _lock = ring.lock_producer().expect("a ring of our own");
    let mut producer = Producer::reopen(ring.region().clone(), now_ns()).expect("a new ring");
    producer.set_schema(&schema_region(), 8).expect("a new ring has no schema");
    let mut reader = Command::new(std::env::current_exe().expect("this program"))
        .env("MULLETDAQ_LATENCY_RING", &path)
        .stdout(Stdio::inherit())
        .spawn()
        .expect("a second process");
    while reader.try_wait().expect("our own child").is_none() {
        let pause = Instant::now();
        while pause.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
        let now = now_ns();
        producer.begin_row(now).expect("old rows go");
        producer.put(0, now);
        producer.commit_row(now);
    }
    std::fs::remove_file(&path).expect("the ring that we made");
}
