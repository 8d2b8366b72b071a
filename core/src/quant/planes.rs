//! Small integers in planes: how nearly all formats pack their bits.
//!
//! A run of `WIDTH` bytes holds `8 / BITS` planes of `WIDTH` integers: the first plane in the lowest bits of the bytes,
//! the next one above it. So whole registers of bytes unpack with a shift and a mask, and neighbours stay neighbours.
//! With 4 bits and a width of 16, byte `i` holds integer `i` and, above it, integer `16 + i`.

/// Writes the integers that the planes in `bytes` hold.
#[inline(always)]
pub fn unpack<const BITS: u32, const WIDTH: usize>(bytes: &[u8], q: &mut [i8]) {
    each::<BITS, WIDTH>(bytes, q, |q, bits| *q = bits as i8);
}

/// Puts the bits that the planes in `bytes` hold into `q`, from bit `at` up.
#[inline(always)]
pub fn unpack_upper<const BITS: u32, const WIDTH: usize>(bytes: &[u8], at: u32, q: &mut [i8]) {
    each::<BITS, WIDTH>(bytes, q, |q, bits| *q |= (bits << at) as i8);
}

#[inline(always)]
fn each<const BITS: u32, const WIDTH: usize>(bytes: &[u8], q: &mut [i8], put: impl Fn(&mut i8, u8)) {
    let mask = (1 << BITS) - 1;
    let planes = 8 / BITS as usize;
    for (bytes, q) in bytes.chunks_exact(WIDTH).zip(q.chunks_exact_mut(WIDTH * planes)) {
        for (plane, q) in q.chunks_exact_mut(WIDTH).enumerate() {
            for (q, byte) in q.iter_mut().zip(bytes) {
                put(q, byte >> (plane as u32 * BITS) & mask);
            }
        }
    }
}

/// Puts `BITS` bits of each integer, from bit `at` up, into planes; `bytes` must be zero.
#[inline(always)]
pub fn pack<const BITS: u32, const WIDTH: usize>(q: &[u8], at: u32, bytes: &mut [u8]) {
    let mask = (1 << BITS) - 1;
    let planes = 8 / BITS as usize;
    for (bytes, q) in bytes.chunks_exact_mut(WIDTH).zip(q.chunks_exact(WIDTH * planes)) {
        for (plane, q) in q.chunks_exact(WIDTH).enumerate() {
            for (byte, q) in bytes.iter_mut().zip(q) {
                *byte |= (q >> at & mask) << (plane as u32 * BITS);
            }
        }
    }
}
