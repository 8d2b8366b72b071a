//! Rows by fours: another order of a matrix's bytes, for memory that weights are copied to in any case.
//!
//! Four neighbouring rows share their place: a block of each becomes one of four rows, as long as the four together.
//! A register then holds a few weights of each row, so that products add up to a lane for every row, and four scales are
//! widened at once.
//!
//! ```text
//! scales: 4 f16 | Q5_0: fifth bits, 4 bytes of each row | 4 bytes of each row, 4 or 8 times: quads
//! ```
//! A quad is four neighbouring weights. Quads `v` and `v + 4` of a row are a byte's two nibbles, or (Q8_0) 16 bytes
//! apart. Bit `j` of a row's byte `k` of fifth bits belongs to weight `4 * j + k`.

use super::Dtype;

/// How the rows of a matrix lie in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other, as in a file.
    #[default]
    Rows,
    /// By fours, as this module tells.
    Fours,
}

/// Most bytes that four rows may have, so that rows which wait for others take no more memory than that: rows of 246,000
/// weights in Q8_0.
const MOST: usize = 1 << 20;

/// Bytes of four rows of a tensor of this type and shape (row length first); `None` when it cannot lie by fours, because
/// of its type or since its matrices have other numbers of rows than multiples of four.
pub fn four_rows(dtype: Dtype, shape: &[usize; 4]) -> Option<usize> {
    order(dtype).filter(|_| shape[1].is_multiple_of(4))?;
    let bytes = dtype.row_bytes(shape[0])?.checked_mul(4)?;
    (1..=MOST).contains(&bytes).then_some(bytes)
}

/// Bytes of 256 weights at most, in a file.
pub const MAX_BYTES: usize = 256 / 32 * 34;

/// Which words (of 4 bytes, behind a block's scale) of a row lie where; `None` for types whose rows cannot lie by fours.
/// In Q5_0 the first is fifth bits.
fn order(dtype: Dtype) -> Option<&'static [usize]> {
    match dtype {
        Dtype::Q4_0 => Some(&[0, 1, 2, 3]),
        Dtype::Q5_0 => Some(&[0, 1, 2, 3, 4]),
        Dtype::Q8_0 => Some(&[0, 4, 1, 5, 2, 6, 3, 7]),
        _ => None,
    }
}

/// Lays four rows by fours, from where they are in the order of a file.
///
/// # Panics
/// When the type has no [`four_rows`], the bytes are not four rows of whole blocks, or there is room for others.
pub fn lay(dtype: Dtype, rows: &[u8], to: &mut [u8]) {
    let (order, bytes) = (order(dtype).expect("a type whose rows lie by fours"), dtype.block_bytes());
    assert!(rows.len().is_multiple_of(4 * bytes) && to.len() == rows.len(), "four rows of whole blocks");
    for (r, row) in rows.chunks_exact(rows.len() / 4).enumerate() {
        for (from, to) in row.chunks_exact(bytes).zip(to.chunks_exact_mut(4 * bytes)) {
            let (scales, words) = to.split_at_mut(8);
            scales[2 * r..][..2].copy_from_slice(&from[..2]);
            let (from, words) = (from[2..].as_chunks::<4>().0, words.as_chunks_mut::<4>().0);
            for (place, &word) in order.iter().enumerate() {
                words[4 * place + r] = from[word];
            }
            if dtype == Dtype::Q5_0 {
                words[r] = by_quads(u32::from_le_bytes(words[r])).to_le_bytes();
            }
        }
    }
}

/// Writes blocks as they lie in a file: of row `row` those from `first` on, as many as `to` has room for; `rows` lie by
/// fours, each of `row_bytes`.
///
/// # Panics
/// When the type has no [`four_rows`], or there are no such blocks.
#[inline(never)]
pub fn copy_blocks(dtype: Dtype, rows: &[u8], row_bytes: usize, row: usize, first: usize, to: &mut [u8]) {
    let (order, bytes) = (order(dtype).expect("a type whose rows lie by fours"), dtype.block_bytes());
    let four = &rows[row / 4 * 4 * row_bytes..][..4 * row_bytes];
    let r = row % 4;
    for (block, to) in four.chunks_exact(4 * bytes).skip(first).zip(to.chunks_exact_mut(bytes)) {
        to[..2].copy_from_slice(&block[2 * r..][..2]);
        let (from, words) = (block[8..].as_chunks::<4>().0, to[2..].as_chunks_mut::<4>().0);
        for (place, &word) in order.iter().enumerate() {
            words[word] = from[4 * place + r];
        }
        if dtype == Dtype::Q5_0 {
            words[0] = by_weights(u32::from_le_bytes(words[0])).to_le_bytes();
        }
    }
}

/// The byte that is at `at` in the file, of rows that lie by fours.
///
/// # Panics
/// As [`copy_blocks`].
pub fn byte(dtype: Dtype, rows: &[u8], row_bytes: usize, at: usize) -> u8 {
    let (mut block, bytes) = ([0; MAX_BYTES], dtype.block_bytes());
    copy_blocks(dtype, rows, row_bytes, at / row_bytes, at % row_bytes / bytes, &mut block[..bytes]);
    block[at % row_bytes % bytes]
}

/// Bit `4 * j + k` goes to bit `8 * k + j`.
fn by_quads(bits: u32) -> u32 {
    (0..4).fold(0, |all, k| {
        // Every fourth bit, of which each turn brings twice as many together.
        let apart = bits >> k & 0x1111_1111;
        let two = (apart | apart >> 3) & 0x0303_0303;
        let four = (two | two >> 6) & 0x000f_000f;
        all | ((four | four >> 12) & 0xff) << (8 * k)
    })
}

/// The reverse of [`by_quads`].
fn by_weights(bits: u32) -> u32 {
    (0..32).fold(0, |all, i| all | (bits >> (i % 4 * 8 + i / 4) & 1) << i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn what_is_laid_comes_back() {
        for dtype in [Dtype::Q4_0, Dtype::Q5_0, Dtype::Q8_0] {
            for cols in [32, 96, 288] {
                let (row_bytes, block) = (dtype.row_bytes(cols).unwrap(), dtype.block_bytes());
                let file: Vec<u8> = (0..8 * row_bytes).map(|i| (i * 167 + i / 251) as u8).collect();
                let mut laid = vec![0; file.len()];
                let fours = file.chunks(4 * row_bytes).zip(laid.chunks_mut(4 * row_bytes));
                fours.for_each(|(rows, to)| lay(dtype, rows, to));
                assert_ne!(laid, file);
                for row in 0..8 {
                    for first in 0..cols / 32 {
                        let mut blocks = vec![0; row_bytes - first * block];
                        copy_blocks(dtype, &laid, row_bytes, row, first, &mut blocks);
                        assert_eq!(
                            blocks,
                            file[row * row_bytes + first * block..][..blocks.len()],
                            "{dtype} {row}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn fifth_bits_go_where_quads_want_them() {
        for i in 0..32 {
            assert_eq!(by_quads(1 << i), 1 << (i % 4 * 8 + i / 4));
        }
        for bits in [0, u32::MAX, 0x1234_5678, 0x8000_0001] {
            assert_eq!(by_weights(by_quads(bits)), bits);
        }
    }

    #[test]
    fn only_whole_fours_of_some_types_lie_so() {
        assert_eq!(four_rows(Dtype::Q8_0, &[64, 8, 3, 1]), Some(4 * 2 * 34));
        for shape in [[64, 6, 2, 1], [64, 1, 4, 1], [1 << 20, 4, 1, 1], [48, 4, 1, 1], [0, 4, 1, 1]] {
            assert_eq!(four_rows(Dtype::Q8_0, &shape), None, "{shape:?}");
        }
        assert_eq!(four_rows(Dtype::Q4_K, &[256, 4, 1, 1]), None);
    }
}
