//! A ring whose words somebody scribbled over, used in every way: nothing may panic, hang, or read outside.
#![allow(missing_docs, dead_code, reason = "shared with the fuzz target")]

use mulletdaq_ring::cursor::Cursor;
use mulletdaq_ring::layout::{self, header};
use mulletdaq_ring::producer::Producer;
use mulletdaq_ring::region::Region;
use mulletdaq_ring::rows::Schema;
use mulletdaq_ring::sync::Ordering;
use mulletdaq_ring::walk;
use std::mem::MaybeUninit;

const CAPACITY: u64 = 8192;

/// Values that sit at the edges of what the fields mean.
const EDGES: [u64; 16] = [
    0,
    1,
    63,
    64,
    128,
    CAPACITY - 64,
    CAPACITY,
    CAPACITY + 64,
    1 << 20,
    u32::MAX as u64,
    1 << 32,
    (1 << 46) + 64,
    1 << 62,
    1 << 63,
    u64::MAX - 63,
    u64::MAX,
];

/// A sound ring with rows, messages and padding, some frames overwritten, the last one open.
fn sound(write: impl Fn(&mut Producer)) -> Region {
    let region = Region::heap(CAPACITY, 4096);
    let mut producer = Producer::reopen(region.clone(), 1).expect("a new ring");
    write(&mut producer);
    region
}

/// Each five bytes of `data` scribble over one word: where, how, and with what.
pub fn attack(data: &[u8], write: impl Fn(&mut Producer)) {
    let region = sound(write);
    for change in data.chunks_exact(5).take(16) {
        let value = EDGES[usize::from(change[3] % 16)].wrapping_add(u64::from(change[4]));
        let pick = usize::from(u16::from_le_bytes([change[1], change[2]]));
        let word = match change[0] % 4 {
            // The word with the capacity stays: the mapping's size depends on it, and is checked when opened.
            0 => region.header(2 + pick % 14),
            1 => &region.data(0, CAPACITY)[pick % 64 * 8 % 1024 + pick % 8],
            2 => &region.schema()[pick % 128],
            _ => &region.data(0, CAPACITY)[pick % 1024],
        };
        let old = word.load(Ordering::Relaxed);
        let new = match change[3] / 16 % 4 {
            0 => value,
            1 => old.wrapping_add(value),
            2 => old & !0xFFFF_FFFF | value & 0xFFFF_FFFF,
            _ => old ^ 1 << (change[4] % 64),
        };
        word.store(new, Ordering::Relaxed);
    }
    use_it(&region);
}

fn use_it(region: &Region) {
    let _ = Schema::load(region);
    let mut places = vec![walk::oldest(region), walk::newest(region), walk::row(region, 7)];
    places.push(walk::row(region, u64::MAX));
    let _ = (
        walk::row_at(region, region.header(header::READ_TAIL).load(Ordering::Relaxed)),
        walk::newest_since(region, None),
    );
    let mut cursors: Vec<Cursor> =
        places.into_iter().flatten().map(|place| Cursor::at(region.clone(), place)).collect();
    for index in [header::READ_TAIL, header::OLDEST, header::MIDWAY, header::WRITE_HEAD] {
        let position = region.header(index).load(Ordering::Relaxed);
        cursors.push(Cursor::at_position(region.clone(), position));
        cursors.extend(Cursor::resume(region.clone(), position, 5, None));
    }
    let mut words = Vec::new();
    for mut cursor in cursors {
        cursor.set_verify(true);
        for reads in 0..50 {
            if let Some(length) = cursor.next_message_bytes() {
                assert!(length <= CAPACITY);
                let _ = cursor.read_message(&mut vec![MaybeUninit::uninit(); length as usize]);
            }
            if let Ok(None) = cursor.read(1 + reads % 7 * 100, &mut words) {
                break;
            }
            assert!(words.len() as u64 * 8 <= 4 * CAPACITY + u64::from(layout::SCHEMA_CAPACITY));
        }
    }
    if let Ok(mut producer) = Producer::reopen(region.clone(), 1) {
        for _ in 0..20 {
            if producer.begin_row(2).is_ok() {
                producer.put(0, 1);
                producer.commit_row(2);
            }
            let _ = producer.write_arrow(&[1; 100], 1, 2);
        }
        producer.seal(3);
    }
}
