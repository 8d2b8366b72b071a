use super::*;
use alloc::vec;

/// A small honest file: a few metadata kinds and two tensors.
fn honest() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.architecture", Value::Str(b"llama"));
    writer.set("n", Value::U16(7));
    writer.set("eps", Value::F32(1e-5));
    writer.set("yes", Value::Bool(true));
    writer.set_strings("words", [&b"a"[..], b"", b"ccc"].into_iter());
    writer.set_array("scores", &[1.0f32, -2.0]);
    writer.tensor("w", crate::quant::Dtype::F32, &[2, 3]).unwrap();
    writer.tensor("b", crate::quant::Dtype::F32, &[3]).unwrap();
    let mut bytes = writer.head();
    for floats in [6, 3] {
        bytes.resize(bytes.len() + 4 * floats + Writer::padding(4 * floats), 1);
    }
    bytes
}

fn parse(bytes: &[u8]) -> Result<File> {
    File::parse(Bytes::new(bytes.to_vec()))
}

#[test]
fn what_was_written_is_read() {
    let file = parse(&honest()).unwrap();
    assert_eq!(file.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.u32("n").unwrap(), Some(7));
    assert_eq!(file.f32("eps").unwrap(), Some(1e-5));
    assert_eq!(file.bool("yes").unwrap(), Some(true));
    assert_eq!(file.u32("absent").unwrap(), None);
    let words = file.array("words").unwrap().unwrap();
    let spans: Vec<&[u8]> = words.spans().map(|span| &file.bytes()[span]).collect();
    assert_eq!(spans, [&b"a"[..], b"", b"ccc"]);
    assert!(words.iter().zip(spans).all(|(value, span)| matches!(value, Value::Str(s) if s == span)));
    let w = file.tensor("w").unwrap();
    assert_eq!((w.dims(), w.cols(), w.rows()), (&[2, 3][..], 2, 3));
    assert_eq!(*file.data(w), [1; 24]);
    assert_eq!(file.tensor_index("b"), Some(1));
    assert!(file.tensor("c").is_none());
}

#[test]
fn a_wrong_type_names_the_key() {
    let error = parse(&honest()).unwrap().u32("eps").unwrap_err();
    assert_eq!(
        alloc::string::ToString::to_string(&error),
        "key `eps`: found 0.00001, expected a 32-bit unsigned number"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = honest();
    // The last tensor's padding is not needed; everything before it is.
    let end = bytes.len() - Writer::padding(3 * 4);
    for len in 0..end {
        let error = parse(&bytes[..len]).expect_err("truncated");
        assert!(matches!(error.kind, ErrorKind::Truncated | ErrorKind::Malformed), "{len}: {error}");
    }
    parse(&bytes[..end]).unwrap();
}

#[test]
fn every_flipped_byte_is_read_or_refused() {
    let bytes = honest();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            if let Ok(file) = parse(&bytes) {
                file.metadata().for_each(|(_, value)| drop(alloc::format!("{value}")));
                file.tensors().iter().for_each(|tensor| drop(file.data(tensor)));
            }
        }
    }
}

#[test]
fn version_1_has_short_lengths() {
    let mut bytes = b"GGUF".to_vec();
    for n in [1u32, 0, 1, 1] {
        bytes.extend(n.to_le_bytes());
    }
    bytes.push(b'k');
    for n in [9u32, 8, 2, 1] {
        bytes.extend(n.to_le_bytes());
    }
    bytes.push(b'x');
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(b"yes");
    let file = parse(&bytes).unwrap();
    let spans: Vec<&[u8]> =
        file.array("k").unwrap().unwrap().spans().map(|span| &file.bytes()[span]).collect();
    assert_eq!(spans, [&b"x"[..], b"yes"]);
}

#[test]
fn other_files_are_told_apart() {
    let kind = |bytes: &[u8]| parse(bytes).unwrap_err().kind;
    assert_eq!(kind(b""), ErrorKind::Truncated);
    assert_eq!(kind(b"\xff\xd8\xff\xe0\0\x10JFIF"), ErrorKind::Malformed);
    assert_eq!(kind(b"GGUF\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), ErrorKind::Unsupported);
    assert_eq!(kind(b"GGUF\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), ErrorKind::Unsupported);
}

/// A file with one metadata value, written by hand.
fn with_value(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k".to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(value);
    bytes
}

#[test]
fn nested_arrays_have_a_bottom() {
    let nest = |depth: usize| {
        let level: Vec<u8> = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        let mut value = level.repeat(depth);
        value.extend([4u32.to_le_bytes().as_slice(), &1u64.to_le_bytes(), &5u32.to_le_bytes()].concat());
        with_value(9, &value)
    };
    let file = parse(&nest(2)).unwrap();
    let mut value = file.get("k").unwrap();
    while let Value::Array(array) = value {
        value = array.iter().next().unwrap();
    }
    assert_eq!(value.as_u64(), Some(5));
    assert_eq!(parse(&nest(5000)).unwrap_err().kind, ErrorKind::Malformed);
    let huge = [9u32.to_le_bytes().as_slice(), &u64::MAX.to_le_bytes()].concat();
    assert_eq!(parse(&with_value(9, &huge)).unwrap_err().kind, ErrorKind::Truncated);
}

/// Part `no` of a split of `count`, with one tensor.
fn part(no: u16, count: u16, tensor: &str) -> Bytes {
    let mut writer = Writer::new();
    writer.set("split.no", Value::U16(no));
    writer.set("split.count", Value::U16(count));
    writer.set("split.tensors.count", Value::I32(2));
    writer.tensor(tensor, crate::quant::Dtype::F32, &[8]).unwrap();
    let mut bytes = writer.head();
    bytes.resize(bytes.len() + 32, no as u8);
    Bytes::new(bytes)
}

#[test]
fn splits_are_whole_and_in_order() {
    assert_eq!(File::split_count(&part(0, 2, "a")).unwrap(), 2);
    let file = File::parse_split(vec![part(0, 2, "a"), part(1, 2, "b")]).unwrap();
    assert_eq!(*file.data(file.tensor("b").unwrap()), [1; 32]);
    let wrong = |shards| File::parse_split(shards).unwrap_err().kind;
    assert_eq!(wrong(vec![part(0, 2, "a")]), ErrorKind::Missing);
    assert_eq!(wrong(vec![part(0, 2, "a"), part(0, 2, "b")]), ErrorKind::Malformed);
    assert_eq!(wrong(vec![part(0, 2, "a"), part(1, 2, "a")]), ErrorKind::Malformed);
    assert_eq!(wrong(vec![]), ErrorKind::Argument);
}

/// What arrives in pieces of `piece` bytes.
fn arrive(files: &[&[u8]], piece: usize) -> Result<File> {
    let lens: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
    let mut incoming = Incoming::new(&lens)?;
    files.concat().chunks(piece).try_for_each(|bytes| incoming.push(bytes))?;
    incoming.finish()
}

#[test]
fn pieces_come_to_the_same_file() {
    let bytes = honest();
    let whole = parse(&bytes).unwrap();
    for piece in [1, 2, 7, 31, 64, 1000] {
        let file = arrive(&[&bytes], piece).unwrap();
        assert_eq!((file.total_bytes(), file.tensors()), (whole.total_bytes(), whole.tensors()));
        assert_eq!(file.metadata().count(), whole.metadata().count());
        for tensor in file.tensors() {
            assert_eq!(*file.data(tensor), *whole.data(tensor), "{tensor} in pieces of {piece}");
        }
        let files = [&*part(0, 2, "a"), &*part(1, 2, "b")];
        let file = arrive(&files, piece).unwrap();
        assert_eq!(*file.data(file.tensor("b").unwrap()), [1; 32]);
    }
}

#[test]
fn bytes_may_be_read_to_where_they_stay() {
    let bytes = honest();
    let whole = parse(&bytes).unwrap();
    let mut incoming = Incoming::new(&[bytes.len() as u64]).unwrap();
    let mut left = &*bytes;
    let mut head = None;
    while !left.is_empty() {
        // Twice in vain, and then not to the end.
        incoming.room(left.len()).unwrap();
        let room = incoming.room(23).unwrap();
        let n = room.len().div_ceil(2);
        room[..n].copy_from_slice(&left[..n]);
        incoming.filled(n).unwrap();
        left = &left[n..];
        head = head.or_else(|| incoming.head().unwrap());
    }
    assert_eq!(incoming.room(1).unwrap_err().kind, ErrorKind::Malformed);
    let (head, file) = (head.unwrap(), incoming.finish().unwrap());
    assert!(!head.has_data());
    for seen in [&head, &file] {
        assert_eq!((seen.total_bytes(), seen.tensors()), (whole.total_bytes(), whole.tensors()));
        assert_eq!(seen.metadata().count(), whole.metadata().count());
    }
    for tensor in file.tensors() {
        assert_eq!(*file.data(tensor), *whole.data(tensor), "{tensor}");
    }
    let mut incoming = Incoming::new(&[bytes.len() as u64]).unwrap();
    let room = incoming.room(8).unwrap().len();
    assert_eq!(incoming.filled(room + 1).unwrap_err().kind, ErrorKind::Argument);
}

#[test]
fn pieces_are_refused_like_files() {
    let bytes = honest();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let (whole, pieces) = (parse(&bytes).map(drop), arrive(&[&bytes], 7).map(drop));
            assert_eq!(whole.map_err(|e| e.kind), pieces.map_err(|e| e.kind), "byte {at} ^ {flip:#x}");
        }
    }
    let mut incoming = Incoming::new(&[bytes.len() as u64]).unwrap();
    incoming.push(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(incoming.received(), bytes.len() as u64 - 1);
    assert_eq!(incoming.finish().unwrap_err().kind, ErrorKind::Truncated);
    let mut incoming = Incoming::new(&[bytes.len() as u64]).unwrap();
    assert_eq!(incoming.push(&[bytes, vec![0]].concat()).unwrap_err().kind, ErrorKind::Malformed);
    assert_eq!(arrive(&[b""], 1).unwrap_err().kind, ErrorKind::Truncated);
    assert_eq!(arrive(&[], 1).unwrap_err().kind, ErrorKind::Argument);
}

#[test]
fn a_head_is_enough_for_the_table() {
    let bytes = honest();
    let lens: Vec<_> =
        (0..bytes.len()).filter_map(|n| File::head_len(&bytes[..n], bytes.len()).unwrap()).collect();
    let len = lens[0];
    assert!(
        lens.iter().all(|&l| l == len) && File::head_len(&bytes[..len - 1], bytes.len()).unwrap().is_none()
    );
    let head = Bytes::new(bytes[..len].to_vec());
    let file = File::parse_heads(vec![(head.clone(), bytes.len())]).unwrap();
    assert_eq!((file.tensors(), file.has_data()), (parse(&bytes).unwrap().tensors(), false));
    assert_eq!(crate::Model::new(&file).unwrap_err().kind, ErrorKind::Missing);
    let short = head.slice(0..len - 1).unwrap();
    assert_eq!(File::parse_heads(vec![(short, bytes.len())]).unwrap_err().kind, ErrorKind::Truncated);
    // A file that is too short for its tensors is refused as soon as its table is there.
    assert_eq!(File::head_len(&bytes[..len], len).unwrap_err().kind, ErrorKind::Truncated);
}
