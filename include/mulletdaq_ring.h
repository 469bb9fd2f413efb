/* The ring's layout, version 1, for readers in C and C++.
 *
 * docs/reference/ring-layout.md says what the fields mean and how to read without being fooled: acquire
 * write_head, copy, acquire fence, check write_intent. All fields are little-endian; load each 64-bit word
 * as a whole. Include it from C11 or C++11 and later.
 */
#ifndef MULLETDAQ_RING_H
#define MULLETDAQ_RING_H

#include <stddef.h>
#include <stdint.h>

#define MULLETDAQ_MAGIC UINT64_C(0xDADADADA00000001)
#define MULLETDAQ_LAYOUT_VERSION 1
#define MULLETDAQ_ALIGN 64
#define MULLETDAQ_SEALED (UINT64_C(1) << 63) /* top bit of a frame's state */

enum mulletdaq_flag {
    MULLETDAQ_FLAG_OPAQUE = 1,
    MULLETDAQ_FLAG_ARROW = 2,
    MULLETDAQ_FLAG_CHECKSUMS = 4,
    MULLETDAQ_FLAG_REPLACED = 8
};

enum mulletdaq_kind {
    MULLETDAQ_KIND_PADDING = 0,
    MULLETDAQ_KIND_OPAQUE = 1,
    MULLETDAQ_KIND_ROWS = 2,
    MULLETDAQ_KIND_ARROW = 3
};

/* At file offset 0; the data region follows at 128, the schema region at 128 + capacity. */
struct mulletdaq_header {
    uint64_t magic;
    uint64_t capacity;
    uint64_t write_head;
    uint64_t read_tail;
    uint32_t schema_len;
    uint32_t version;
    uint64_t write_intent;
    uint64_t oldest;
    uint64_t midway;
    uint64_t stream_id;
    uint64_t created_ns;
    uint32_t producer_pid;
    uint32_t sink_pid;
    uint64_t producer_heartbeat_ns;
    uint64_t sink_heartbeat_ns;
    uint64_t next_sequence;
    uint64_t next_row;
    uint32_t schema_capacity;
    uint32_t flags;
};

/* At 128 + position % capacity, the payload behind it. */
struct mulletdaq_frame {
    uint64_t position;
    uint64_t length;
    uint64_t sequence;
    uint64_t first_row;
    uint64_t state;
    uint64_t timestamp_ns;
    uint32_t kind;
    uint32_t crc32c;
    uint32_t row_capacity;
    uint32_t body_offset;
};

/* Bytes that a frame takes in the ring. */
static inline uint64_t mulletdaq_frame_span(uint64_t length)
{
    return sizeof(struct mulletdaq_frame) + (length + MULLETDAQ_ALIGN - 1) / MULLETDAQ_ALIGN * MULLETDAQ_ALIGN;
}

/* Offset in the file of a position. */
static inline uint64_t mulletdaq_file_offset(uint64_t position, uint64_t capacity)
{
    return sizeof(struct mulletdaq_header) + position % capacity;
}

#endif
