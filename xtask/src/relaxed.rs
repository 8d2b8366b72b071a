//! The relaxed module as it runs on other processors than this one.
//!
//! What some relaxed instructions do depends on the processor under the browser, and the engine multiplies in other ways
//! accordingly (`core/src/simd/relaxed.rs`). A compiled module is changed here: each of those instructions becomes a call
//! of a function that does what another processor does, in instructions that mean the same everywhere.

use crate::setup::{Stop, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Processors that a module can be made to see: old x86, x86 with AVX-VNNI, and 64-bit Arm.
pub const PROCESSORS: [&str; 3] = ["x86", "avx-vnni", "arm"];

/// What cargo starts in place of `runner`: changes the compiled test and has `runner` run what comes out.
pub fn run_as_on(processor: &str, runner: &str, test: &str, args: &[&str]) -> Result<(), Stop> {
    let changed = Path::new(test).with_extension(format!("{processor}.wasm"));
    let failed = |e| Stop::Failed(format!("{}: {e}", changed.display()));
    let module = change(&fs::read(test).map_err(failed)?, &relaxed_of(processor));
    fs::write(&changed, module).map_err(failed)?;
    let result = run(Command::new(runner).arg(&changed).args(args));
    fs::remove_file(&changed).map_err(failed)?; // as large as the test
    result
}

/// A relaxed instruction, and a function that does what it does on some processor.
struct Relaxed {
    /// What follows the byte [`VECTOR`].
    number: u64,
    parameters: u8,
    code: Vec<u8>,
}

/// What a processor does differently from others, of what the engine uses.
fn relaxed_of(processor: &str) -> Vec<Relaxed> {
    // Sums of two products, and of four.
    let (pairs, quads) = match processor {
        "x86" => {
            let pairs = dot(I16X8, SHR_U, ADD_SAT_S);
            (pairs.clone(), [pairs, vector(EXTADD_PAIRWISE)].concat())
        }
        "avx-vnni" => (dot(I16X8, SHR_U, ADD_SAT_S), dot(I32X4, SHR_U, ADD)),
        "arm" => (dot(I16X8, SHR_S, ADD), dot(I32X4, SHR_S, ADD)),
        _ => panic!("there is no processor {processor}; there are {PROCESSORS:?}"),
    };
    let mut relaxed = Vec::new();
    let mut does = |number, parameters, code: &[Vec<u8>]| {
        relaxed.push(Relaxed { number, parameters, code: code.concat() });
    };
    // i16x8.relaxed_dot_i8x16_i7x16_s and i32x4.relaxed_dot_i8x16_i7x16_add_s
    does(0x112, 2, &[pairs]);
    does(0x113, 3, &[quads, local(2), vector(I32X4 + ADD)]);
    if processor == "x86" {
        // f32x4.relaxed_madd and relaxed_nmadd round twice.
        let product = [local(0), local(1), vector(F32X4_MUL)].concat();
        does(0x105, 3, &[product.clone(), local(2), vector(F32X4_ADD)]);
        does(0x106, 3, &[local(2), product, vector(F32X4_SUB)]);
    }
    if processor == "arm" {
        // i8x16.relaxed_swizzle and i32x4.relaxed_trunc_f32x4_s are those that are not relaxed.
        does(0x100, 2, &[local(0), local(1), vector(SWIZZLE)]);
        does(0x101, 1, &[local(0), vector(TRUNC_SAT)]);
    }
    relaxed
}

/// The products of the bytes that share a lane, signed ones with those that `shift_second` widens, added up by `add`.
fn dot(lanes: u64, shift_second: u64, add: u64) -> Vec<u8> {
    let bytes = if lanes == I16X8 { 2 } else { 4 };
    let byte = |operand, i, shift_right| {
        let (left, right) = (8 * (bytes - 1 - i), 8 * (bytes - 1));
        let shift = |by, shift| [vec![I32_CONST, by], vector(lanes + shift)].concat();
        [local(operand), shift(left, SHL), shift(right, shift_right)].concat()
    };
    let products =
        (0..bytes).map(|i| [byte(0, i, SHR_S), byte(1, i, shift_second), vector(lanes + MUL)].concat());
    products.reduce(|sum, product| [sum, product, vector(lanes + add)].concat()).expect("several products")
}

/// An instruction for vectors.
fn vector(number: u64) -> Vec<u8> {
    [vec![VECTOR], encoded(number)].concat()
}

/// The value of a parameter.
fn local(i: u8) -> Vec<u8> {
    vec![LOCAL_GET, i]
}

// Numbers of instructions for vectors of 16-bit and 32-bit lanes, and what is added for each operation.
const I16X8: u64 = 0x80;
const I32X4: u64 = 0xa0;
const SHL: u64 = 0x0b;
const SHR_S: u64 = 0x0c;
const SHR_U: u64 = 0x0d;
const ADD: u64 = 0x0e;
const ADD_SAT_S: u64 = 0x0f;
const MUL: u64 = 0x15;

/// Sums of two neighbours of 16 bits, in 32.
const EXTADD_PAIRWISE: u64 = 0x7e;
const SWIZZLE: u64 = 0x0e;
const TRUNC_SAT: u64 = 0xf8;
const F32X4_ADD: u64 = 0xe4;
const F32X4_SUB: u64 = 0xe5;
const F32X4_MUL: u64 = 0xe6;

// Modules, as far as they must be understood: https://webassembly.github.io/spec/core/binary

const TYPES: u8 = 1;
const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

const FUNCTION_TYPE: u8 = 0x60;
const V128: u8 = 0x7b;

const END: u8 = 0x0b;
const CALL: u8 = 0x10;
const LOCAL_GET: u8 = 0x20;
const I32_CONST: u8 = 0x41;
const VECTOR: u8 = 0xfd;

/// The module with a function more for each of `relaxed`, and calls of it in the instruction's place. All that such a
/// module imports are functions.
fn change(module: &[u8], relaxed: &[Relaxed]) -> Vec<u8> {
    let mut from = module;
    let mut to = take(&mut from, 8).to_vec();
    // The first type and the first function that are added.
    let (mut new_type, mut new_function) = (0, 0);
    let list = |old: u64, entries: &[u8], new: Vec<Vec<u8>>| {
        [encoded(old + new.len() as u64), entries.to_vec(), new.concat()].concat()
    };
    while !from.is_empty() {
        let id = take(&mut from, 1)[0];
        let section = take_sized(&mut from);
        let mut entries = section;
        let changed = match id {
            TYPES => {
                new_type = number(&mut entries);
                list(new_type, entries, relaxed.iter().map(Relaxed::function_type).collect())
            }
            IMPORTS => {
                new_function += number(&mut entries);
                section.to_vec()
            }
            FUNCTIONS => {
                let old = number(&mut entries);
                new_function += old;
                list(old, entries, (new_type..).take(relaxed.len()).map(encoded).collect())
            }
            CODE => {
                let old = number(&mut entries);
                let mut bodies = Vec::new();
                let mut calls = 0;
                for _ in 0..old {
                    let body = change_body(take_sized(&mut entries), relaxed, new_function, &mut calls);
                    bodies.extend(sized(&body));
                }
                assert!(calls > 0, "the module has no relaxed instructions");
                println!("{calls} relaxed instructions became calls");
                list(old, &bodies, relaxed.iter().map(Relaxed::body).collect())
            }
            _ => section.to_vec(),
        };
        to.push(id);
        to.extend(sized(&changed));
    }
    to
}

impl Relaxed {
    fn function_type(&self) -> Vec<u8> {
        let parameters = vec![V128; usize::from(self.parameters)];
        [vec![FUNCTION_TYPE, self.parameters], parameters, vec![1, V128]].concat()
    }

    /// Without variables other than the parameters.
    fn body(&self) -> Vec<u8> {
        sized(&[&[0], &self.code[..], &[END]].concat())
    }
}

/// A function's variables and instructions.
fn change_body(body: &[u8], relaxed: &[Relaxed], new_function: u64, calls: &mut usize) -> Vec<u8> {
    let mut from = body;
    for _ in 0..number(&mut from) {
        number(&mut from);
        take(&mut from, 1);
    }
    let mut to = body[..body.len() - from.len()].to_vec();
    while !from.is_empty() {
        let start = from;
        let vector = instruction(&mut from);
        match relaxed.iter().position(|it| Some(it.number) == vector) {
            Some(i) => {
                *calls += 1;
                to.push(CALL);
                to.extend(encoded(new_function + i as u64));
            }
            None => to.extend(&start[..start.len() - from.len()]),
        }
    }
    to
}

/// Passes an instruction by; the number of one for vectors.
fn instruction(from: &mut &[u8]) -> Option<u64> {
    let mut vector = None;
    let code = take(from, 1)[0];
    let (numbers, bytes) = match code {
        0x02..=0x04 | 0x0c | 0x0d | CALL | 0x20..=0x26 | 0x3f..=0x42 | 0xd0 | 0xd2 => (1, 0),
        0x11 | 0x28..=0x3e => (2, 0), // a call through a table; memory, with alignment and place
        0x0e => (number(from) + 1, 0), // a table of branches
        0x1c => (0, number(from)),    // types to select from
        0x43 => (0, 4),               // floats
        0x44 => (0, 8),
        0xfc => match number(from) {
            0..=7 => (0, 0),
            9 | 11 | 13 | 15..=17 => (1, 0),
            8 | 10 | 12 | 14 => (2, 0),
            number => panic!("instruction 0xfc {number} is not known"),
        },
        VECTOR => {
            let number = number(from);
            vector = Some(number);
            match number {
                0..=11 | 92 | 93 => (2, 0), // memory
                12 | 13 => (0, 16),         // constants, and places to take lanes from
                21..=34 => (0, 1),          // a lane
                84..=91 => (2, 1),          // memory and a lane
                _ => (0, 0),
            }
        }
        0x00 | 0x01 | 0x05 | END | 0x0f | 0x1a | 0x1b | 0x45..=0xc4 | 0xd1 => (0, 0),
        _ => panic!("instruction {code:#x} is not known"),
    };
    for _ in 0..numbers {
        number(from);
    }
    take(from, bytes);
    vector
}

fn take<'a>(from: &mut &'a [u8], n: u64) -> &'a [u8] {
    from.split_off(..n as usize).expect("the module goes on")
}

fn take_sized<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let n = number(from);
    take(from, n)
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&encoded(bytes.len() as u64), bytes].concat()
}

/// A number by groups of 7 bits, the lowest first; all but the last have the eighth bit.
fn number(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = take(from, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn encoded(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
