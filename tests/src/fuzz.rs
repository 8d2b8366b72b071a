//! What hostile bytes can reach: one function per door, each fed with arbitrary bytes.
//!
//! None may panic, overflow the stack, or take memory or time out of proportion. libFuzzer calls them from `fuzz/`;
//! `tests/fuzz_smoke.rs` calls them with mutations of [`Target::seeds`], so that the test command does too.

use std::sync::OnceLock;

#[cfg(not(target_family = "wasm"))]
use motelm::quantize::imatrix::{Gathered, Squares};
use motelm_chat::{Conversation, Message, Request, Template};
use motelm_core::gguf::{File, Incoming, TensorInfo, Value};
use motelm_core::model::Model;
use motelm_core::quant::fours::{self, Layout};
use motelm_core::quant::{Dtype, dequantize};
use motelm_core::sample::random::Random;
use motelm_core::sample::{Mirostat, Options, Sampler};
use motelm_core::session::{self, Session};
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, Tokenizer};
use motelm_core::{Bytes, Error};

use crate::{golden, honest, read};

/// A door and what to knock with.
pub struct Target {
    /// The name of the door and of its libFuzzer target.
    pub name: &'static str,
    /// Knocks.
    pub run: fn(&[u8]),
    /// Honest input, to be mutated.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All doors.
pub const TARGETS: &[Target] = &[
    Target { name: "gguf", run: gguf, seeds: honest::files },
    Target { name: "incoming", run: incoming, seeds: pieces },
    Target { name: "model", run: model, seeds: || vec![honest::llama()] },
    Target { name: "state", run: state, seeds: states },
    Target { name: "tokenizer", run: tokenizer, seeds: honest::files },
    Target { name: "encode", run: encode, seeds: texts },
    Target { name: "quant", run: quant, seeds: || noise(8, 600) },
    Target { name: "sample", run: sample, seeds: || noise(8, 400) },
    Target { name: "template", run: template, seeds: templates },
    Target { name: "history", run: history, seeds: histories },
    #[cfg(not(target_family = "wasm"))]
    Target { name: "importance", run: importance, seeds: importances },
];

/// A GGUF file: parsed, then all of it read.
pub fn gguf(data: &[u8]) {
    let bytes = Bytes::new(data.to_vec());
    let _ = File::split_count(&bytes);
    match File::parse(bytes) {
        Ok(file) => read_all(&file),
        Err(error) => read_error(&error),
    }
}

fn read_all(file: &File) {
    for (key, value) in file.metadata() {
        let shown = value.to_string();
        assert!(shown.len() < 1000, "{key}");
        if let Value::Array(array) = value {
            assert!(array.iter().count() == array.len() && array.spans().count() <= array.len());
        }
        assert!(file.get(key).is_some());
        let _ = (file.str(key), file.u32(key), file.f32(key), file.bool(key), file.array(key));
    }
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len(), tensor.len);
        assert_eq!(file.tensor(&tensor.name), Some(tensor));
    }
}

/// Errors are for people: they say something, and not too much.
fn read_error(error: &Error) {
    let shown = error.to_string();
    assert!((10..100_000).contains(&shown.len()), "{shown}");
}

/// A GGUF file that arrives in pieces, whose length the first byte says, and, where that is odd, is laid by fours: it is
/// taken as it would be at once.
pub fn incoming(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let mut incoming = Incoming::new(&[bytes.len() as u64]).expect("a length that memory can have");
    if first % 2 == 1 {
        incoming = incoming.by_fours();
    }
    let pushed = bytes.chunks(usize::from(first) * 16 + 1).try_for_each(|piece| incoming.push(piece));
    match (pushed.and_then(|()| incoming.finish()), File::parse(Bytes::new(bytes.to_vec()))) {
        (Ok(file), Ok(whole)) => {
            assert_eq!(file.tensors(), whole.tensors());
            for (a, b) in file.tensors().iter().zip(whole.tensors()) {
                assert!(as_in_file(&file, a) == whole.data(b)[..], "{a}");
            }
        }
        (Err(error), Err(_)) => read_error(&error),
        (Ok(_), Err(error)) => panic!("accepted in pieces, but at once: {error}"),
        (Err(error), Ok(_)) => panic!("accepted at once, but in pieces: {error}"),
    }
}

fn as_in_file(file: &File, tensor: &TensorInfo) -> Vec<u8> {
    let mut bytes = file.data(tensor).to_vec();
    if file.layout(tensor) == Layout::Fours {
        let (laid, row_bytes) = (bytes.clone(), bytes.len() / tensor.rows());
        for (row, to) in bytes.chunks_mut(row_bytes).enumerate() {
            fours::copy_blocks(tensor.dtype, &laid, row_bytes, row, 0, to);
        }
    }
    bytes
}

fn pieces() -> Vec<Vec<u8>> {
    let files = honest::files().into_iter().enumerate();
    files.map(|(i, bytes)| [&[(i * 37) as u8][..], &bytes].concat()).collect()
}

/// A model file: planned, then run for a few tokens if that takes little memory.
pub fn model(data: &[u8]) {
    let Ok(file) = File::parse(Bytes::new(data.to_vec())) else { return };
    if let Err(error) = run(&file) {
        read_error(&error);
    }
}

/// Bytes that a session made of a hostile file may take. More is not wrong, only slow to try.
const SESSION: u64 = 16 << 20;

/// Loads the model of a file and runs a few tokens through it, unless that takes more than a few megabytes.
///
/// # Errors
/// As [`Model::new`] and [`Session::new`].
///
/// # Panics
/// When what was loaded does not work.
pub fn run(file: &File) -> Result<(), Error> {
    let model = Model::new(file)?;
    let options = session::Options { context: 6, batch: 4, ..Default::default() };
    assert!(model.plan().to_string().len() < 1 << 20);
    if model.memory(&options)?.total() > SESSION {
        return Ok(());
    }
    let mut session = Session::new(&model, options)?;
    let n_vocab = model.plan().n_vocab;
    let last = n_vocab as u32 - 1;
    assert!(session.push(&[last + 1]).is_err());
    if model.plan().is_encoder() {
        session.embed(&[0, last, last / 2])?;
        return Ok(());
    }
    assert_eq!(session.forward(&[0, last, last / 2, 0, last])?.len(), n_vocab);
    assert_eq!(session.forward(&[0])?.len(), n_vocab);
    assert!(session.forward(&[0]).is_err(), "the context is full");
    Ok(())
}

/// A saved state, restored into a session as it is, and with its checksum made right; then the session goes on.
pub fn state(data: &[u8]) {
    let mut session = honest_session();
    let mut sealed = data.to_vec();
    if let Some((content, checksum)) = sealed.split_last_chunk_mut::<8>() {
        *checksum = checksum_of(content).to_le_bytes();
    }
    for bytes in [data, &sealed] {
        let before = session.tokens().to_vec();
        match session.restore(bytes) {
            Ok(()) => assert!(session.tokens().len() <= session.context()),
            Err(error) => {
                read_error(&error);
                assert_eq!(session.tokens(), before, "a state that is refused changes nothing");
            }
        }
        if session.tokens().len() < session.context() {
            session.forward(&[7]).expect("room for a token");
        }
    }
}

fn honest_session() -> Session {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let file = File::parse(Bytes::new(honest::llama())).expect("an honest file");
        Model::new(&file).expect("an honest model")
    });
    Session::new(model, session::Options { context: 16, batch: 4, ..Default::default() }).expect("room")
}

fn states() -> Vec<Vec<u8>> {
    let mut session = honest_session();
    let empty = session.save();
    session.forward(&[1, 2, 3, 4, 5]).expect("room for five tokens");
    let five = session.save();
    let (content, checksum) = five.split_last_chunk::<8>().expect("at least a checksum");
    assert_eq!(checksum_of(content).to_le_bytes(), *checksum, "states are sealed as they are here");
    vec![empty, five]
}

/// The checksum of a saved state, so that lies get past it: FNV-1a over words, rotated.
fn checksum_of(content: &[u8]) -> u64 {
    const PRIME: u64 = 0x100_0000_01b3;
    let (words, rest) = content.as_chunks::<8>();
    let state = words.iter().fold(0xcbf2_9ce4_8422_2325, |state: u64, word| {
        (state ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(23)
    });
    rest.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// A file's tokenizer: loaded, then used in every way.
pub fn tokenizer(data: &[u8]) {
    let Ok(file) = File::parse(Bytes::new(data.to_vec())) else { return };
    match Tokenizer::new(&file) {
        Ok(tokenizer) => {
            let text = "<s>Hello, hello wörld!\n\n  12345 don't </s><|endoftext|> [CLS] 💬\u{301}\u{0}";
            ENCODINGS.iter().for_each(|&options| speak(&tokenizer, text, options));
            for id in 0..tokenizer.len().min(2000) {
                let _ = (tokenizer.kind(id), tokenizer.is_eog(id));
                if let Some(name) = tokenizer.token(id).filter(|name| !name.is_empty()) {
                    assert!(tokenizer.id_of(&name).is_none_or(|found| found < tokenizer.len()));
                }
            }
            assert_eq!(tokenizer.decode(&[tokenizer.len(), u32::MAX]), "");
        }
        Err(error) => read_error(&error),
    }
}

/// Any text, with an honest tokenizer; the first byte says which, and how.
pub fn encode(data: &[u8]) {
    static TOKENIZERS: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    let tokenizers = TOKENIZERS.get_or_init(|| {
        let load = |bytes| Tokenizer::new(&File::parse(Bytes::new(bytes))?);
        honest::files().into_iter().map(|bytes| load(bytes).expect("an honest file")).collect()
    });
    let Some((&first, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let (which, how) = (usize::from(first) % tokenizers.len(), usize::from(first) / tokenizers.len());
    let tokenizer = &tokenizers[which];
    speak(tokenizer, &text, ENCODINGS[how % ENCODINGS.len()]);
    speak(tokenizer, &tokenizer.guard(&text), ENCODINGS[how % ENCODINGS.len()]);
    if tokenizer.model_name() == "gpt2" {
        let plain = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No };
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text, plain)), text, "bytes come back as they were");
    }
}

const ENCODINGS: [Encode; 5] = [
    Encode { add_special: AddSpecial::Yes, parse_special: ParseSpecial::Yes },
    Encode { add_special: AddSpecial::Yes, parse_special: ParseSpecial::No },
    Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::Yes },
    Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No },
    Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::Unguarded },
];

/// Encodes and decodes, at once and as a stream.
fn speak(tokenizer: &Tokenizer, text: &str, options: Encode) {
    let tokens = tokenizer.encode(text, options);
    assert!(tokens.iter().all(|&token| token < tokenizer.len()));
    assert!(tokens.len() <= 4 * text.len() + 4, "{} tokens for {} bytes", tokens.len(), text.len());
    let at_once = tokenizer.decode(&tokens);
    let mut stream = tokenizer.stream();
    let mut streamed: String =
        tokens.iter().map(|&token| stream.push(tokenizer, token).to_string()).collect();
    streamed.push_str(stream.finish());
    assert!(streamed == at_once || streamed.strip_prefix(' ') == Some(&at_once), "{streamed:?}, {at_once:?}");
}

fn texts() -> Vec<Vec<u8>> {
    let texts = [
        "Hello hello, world <|endoftext|>",
        "  a\n\n\tb 1234 it's",
        "ÄÖ 日本語 💬 e\u{301} \u{200d}",
        "hello",
    ];
    (0..16u8).map(|first| [&[first], texts[usize::from(first) % 4].as_bytes()].concat()).collect()
}

/// An importance file of either format: read, and written in both.
#[cfg(not(target_family = "wasm"))]
pub fn importance(data: &[u8]) {
    match Gathered::parse(Bytes::new(data.to_vec())) {
        Ok(gathered) => {
            assert_eq!(gathered.importance().len(), gathered.squares.len());
            let _ = (gathered.to_gguf(), gathered.to_dat());
        }
        Err(error) => read_error(&error),
    }
}

#[cfg(not(target_family = "wasm"))]
fn importances() -> Vec<Vec<u8>> {
    let squares = |matrices: usize| Squares { sums: vec![0.5; 4 * matrices], counts: vec![8.0; matrices] };
    let gathered = Gathered {
        squares: [("blk.0.attn_q.weight", 1), ("blk.0.ffn_up_exps.weight", 3)]
            .map(|(name, matrices)| (name.into(), squares(matrices)))
            .into(),
        datasets: vec!["text".into()],
        chunks: 2,
        chunk_size: 4,
    };
    vec![gathered.to_gguf().expect("a file"), gathered.to_dat()]
}

/// Blocks of any format (the first byte says which) decode to something.
pub fn quant(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let dtype = Dtype::ALL[usize::from(first) % Dtype::ALL.len()];
    let n_blocks = rest.len() / dtype.block_bytes();
    let mut out = vec![0.0; n_blocks * dtype.block_len()];
    let blocks = &rest[..n_blocks * dtype.block_bytes()];
    dequantize(dtype, blocks, &mut out).expect("whole blocks");
    assert!(rest.len() == blocks.len() || dequantize(dtype, rest, &mut out).is_err());
}

/// Options from the first bytes, logits from the rest.
pub fn sample(data: &[u8]) {
    let Some((head, logits)) = data.split_at_checked(64) else { return };
    let float = |i: usize| f32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let options = Options {
        seed: head[0].into(),
        top_k: head[1].into(),
        min_keep: usize::from(head[2]) % 8,
        mirostat: [Mirostat::Off, Mirostat::V1, Mirostat::V2][usize::from(head[3]) % 3],
        temperature: float(4),
        dynatemp_range: float(8),
        top_p: float(12),
        min_p: float(16),
        typical_p: float(20),
        top_n_sigma: float(24),
        xtc_probability: float(28),
        xtc_threshold: float(32),
        repeat_penalty: float(36),
        presence_penalty: float(40),
        frequency_penalty: float(44),
        dry_multiplier: float(48),
        dry_base: float(52),
        mirostat_tau: float(56),
        mirostat_eta: float(60),
        ..Options::default()
    };
    let logits: Vec<f32> =
        logits.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect();
    match Sampler::new(&options, logits.len()) {
        Ok(mut sampler) => {
            for _ in 0..4 {
                let token = sampler.pick(&logits);
                assert!((token as usize) < logits.len());
                sampler.accept(token);
            }
        }
        Err(error) => read_error(&error),
    }
}

/// A chat template, read and rendered with little fuel.
pub fn template(data: &[u8]) {
    let Ok(template) = Template::new(&String::from_utf8_lossy(data)) else { return };
    let tools = serde_json::json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let messages = [
        Message::system("Be brief."),
        Message::user("What is a mote?"),
        Message::assistant("<think>Dust.</think>A speck."),
        Message::user("Ä € 💬"),
    ];
    for (messages, tools) in [(&messages[..], Some(&tools)), (&messages[1..2], None), (&[], None)] {
        let request = Request { tools, bos: "<s>", eos: "</s>", fuel: 20_000, ..Request::new(messages) };
        if let Err(error) = template.render(&request) {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// The published templates at hand.
fn templates() -> Vec<Vec<u8>> {
    let folders = std::fs::read_dir(golden("chat")).expect("reference templates");
    let paths = folders.map(|folder| folder.expect("a folder").path().join("template.jinja"));
    paths.filter(|path| path.is_file()).map(|path| read(&path)).collect()
}

/// A saved conversation; what loads is saved as it was.
pub fn history(data: &[u8]) {
    let Ok(conversation) = Conversation::load(&String::from_utf8_lossy(data)) else { return };
    let saved = conversation.save();
    let again = Conversation::load(&saved).expect("saved a moment ago");
    assert_eq!(again.save(), saved);
}

fn histories() -> Vec<Vec<u8>> {
    let mut conversation = Conversation::new();
    let empty = conversation.save();
    conversation.push(Message::user("What is a mote?").with("name", "Ada"));
    conversation.push(Message::assistant("A \"speck\".\n"));
    vec![empty.into(), conversation.save().into()]
}

/// `n` pieces of noise, of `len` bytes each.
fn noise(n: u64, len: usize) -> Vec<Vec<u8>> {
    (0..n).map(|seed| bytes(&mut Random::new(seed), len)).collect()
}

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.bits() as u8).collect()
}

/// Changes a few things, as a fuzzer would: bits, bytes, numbers, pieces left out, doubled, overwritten or cut off.
pub fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..1 + random.bits() % 4 {
        if data.is_empty() {
            break;
        }
        // Most of what can go wrong stands at the beginning of a file.
        let within = if random.bits().is_multiple_of(4) { data.len() } else { data.len().min(2048) };
        let at = random.bits() as usize % within;
        let len = (random.bits() as usize % 16 + 1).min(data.len() - at);
        match random.bits() % 8 {
            0 => data[at] ^= 1 << (random.bits() % 8),
            1 => data[at] = random.bits() as u8,
            2 => data.truncate(at),
            3 => drop(data.drain(at..at + len)),
            4 => {
                let piece = data[at..at + len].to_vec();
                data.splice(at..at, piece);
            }
            5 => {
                let piece = bytes(random, len);
                data[at..at + len].copy_from_slice(&piece);
            }
            kind => {
                let far = [0, 1, u64::MAX, 1 << 63, 1 << 31, u32::MAX.into(), 1 << 16, 9];
                let number = far[(random.bits() % 8) as usize].to_le_bytes();
                let len = (data.len() - at).min(if kind == 6 { 4 } else { 8 });
                data[at..at + len].copy_from_slice(&number[..len]);
            }
        }
    }
    data
}
