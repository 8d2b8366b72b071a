//! `mote quantize` and `mote imatrix`, from outside.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::fs;
use std::path::Path;

use common::{bundled_path, mote_with, scratch};
use motelm::quantize::imatrix::Importance;

/// The bundled model in types that may be rounded.
fn floats() -> String {
    let path = scratch("f16.gguf", b"");
    let made =
        mote_with(|c| c.args(["quantize", "--allow-requantize", bundled_path()]).arg(&path).arg("F16"));
    assert!(made.ok().contains("16.0"), "sixteen bits per weight, about");
    path.display().to_string()
}

fn beside(path: &str, name: &str) -> String {
    Path::new(path).with_file_name(name).display().to_string()
}

#[test]
fn a_model_with_fewer_bits_still_tells_its_story() {
    let input = floats();
    let output = beside(&input, "q8_0.gguf");
    let told = mote_with(|c| c.args(["quantize", &input, &output, "q8_0", "--verbose", "-t", "2"])).ok();
    assert!(told.contains("F16 -> Q8_0") && told.contains("error"), "{told}");
    let story = |model: &str| {
        mote_with(|c| c.args(["run", "--temp", "0", "-n", "6", "--no-echo", "-m", model, "Once upon a time"]))
            .ok()
    };
    assert_eq!(story(&output), story(bundled_path()));
    // The file that was replaced was there as a whole, and so is the new one; nothing else is.
    mote_with(|c| c.args(["quantize", &input, &output, "Q4_0"])).ok();
    assert!(fs::read_dir(Path::new(&input).parent().unwrap()).unwrap().count() == 2);
    let same = beside(&input, "copy.gguf");
    mote_with(|c| c.args(["quantize", &output, &same, "COPY"])).ok();
    assert_eq!(fs::read(&output).unwrap(), fs::read(&same).unwrap());
}

#[test]
fn what_cannot_be_is_refused() {
    let input = floats();
    let output = beside(&input, "out.gguf");
    let refused = |args: &[&str], code: i32, part: &str| {
        mote_with(|c| c.arg("quantize").args(args)).refused(code, part);
        assert!(!Path::new(&output).exists(), "{args:?}");
    };
    refused(&[bundled_path(), &output, "Q4_0"], 3, "--allow-requantize");
    refused(&[&input, &input, "Q4_0"], 2, "cannot be written too");
    refused(&[&input, &output, "Q7_X"], 2, "Q4_K_M");
    refused(&[&input, &output, "Q4_0", "--tensor-type", "ffn"], 2, "REGEX=TYPE");
    refused(&[&input, &output, "Q4_0", "--tensor-type", "(=Q8_0"], 2, "regular expression");
    refused(&[&input, &output, "Q4_0", "--output-type", "I32"], 2, "no type of weights");
    refused(&[&input, &output, "Q4_0", "--imatrix", bundled_path()], 3, "model");
    refused(&[&input, &output, "Q4_0", "--target-bpw", "4"], 2, "--target-bpw");
    refused(&[&input, &output, "--target-bpw", "0.5"], 2, "too few");
    refused(&[&input, &output], 2, "TYPE");
    refused(&[&input, "no/such/folder/out.gguf", "Q4_0"], 1, "cannot be written");
    refused(&["no such file", &output, "Q4_0"], 3, "No such file");
}

#[test]
fn dry_runs_tell_what_would_be() {
    let input = floats();
    let args = ["quantize", &input, "-", "Q4_K_M", "--tensor-type", "blk\\.0\\.ffn_down=F16", "--dry-run"];
    let told = mote_with(|c| c.args(args)).ok();
    assert!(
        told.lines().any(|line| line.starts_with("blk.0.ffn_down.weight") && line.contains("-> F16")),
        "{told}"
    );
    assert!(
        told.lines().any(|line| line.starts_with("blk.1.attn_norm.weight") && line.contains("F32 -> F32"))
    );
    assert!(told.trim_end().ends_with("bits per weight"), "{told}");
}

#[test]
fn importance_is_measured_and_used() {
    let input = floats();
    let text = beside(&input, "text.txt");
    fs::write(&text, "Once upon a time there lived a king who had three sons. ".repeat(40)).unwrap();
    for name in ["model.imatrix.gguf", "model.dat"] {
        let output = beside(&input, name);
        let args = ["imatrix", "-m", &input, "-f", &text, "-o", &output, "-c", "64", "--chunks", "3"];
        let told = mote_with(|c| c.args(args)).ok();
        assert!(told.contains("3 pieces of 64 tokens"), "{told}");
        let quantized = beside(&input, "small.gguf");
        let args = ["quantize", &input, &quantized, "IQ3_S", "--imatrix", &output];
        mote_with(|c| c.args(args)).ok();
        let shown = mote_with(|c| c.args(["inspect", &quantized, "--json"])).json();
        assert_eq!(shown["metadata"]["quantize.imatrix.chunks_count"], 3);
        assert_eq!(shown["metadata"]["general.file_type"], 26);
    }
    let short = beside(&input, "short.txt");
    fs::write(&short, "Once").unwrap();
    let output = beside(&input, "none.gguf");
    mote_with(|c| c.args(["imatrix", "-m", &input, "-f", &short, "-o", &output])).refused(2, "tokens");
}

/// The files were made by llama-imatrix 0.7.0 (build 11669) from the same model and text:
/// `-c 64 --chunks 8 --no-ppl`, and `--output-format` dat or gguf.
#[test]
fn importance_is_what_llama_cpp_measures() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let own = scratch("own.gguf", b"");
    mote_with(|c| {
        let input = golden.join("models/llama-spm");
        c.arg("imatrix")
            .arg("-m")
            .arg(input.join("model-f32.gguf"))
            .arg("-f")
            .arg(input.join("tokenize.json"));
        c.args(["-c", "64", "--chunks", "8", "-o"]).arg(&own)
    })
    .ok();
    let own = Importance::open(&own).unwrap();
    for name in ["llama-spm.gguf", "llama-spm.dat"] {
        let theirs = Importance::open(golden.join("imatrix").join(name)).unwrap();
        assert_eq!((own.len(), theirs.len()), (21, 21), "{name}");
        for tensor in (0..3).flat_map(|layer| {
            ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
                .map(|matrix| format!("blk.{layer}.{matrix}.weight"))
        }) {
            let (own, theirs) = (own.of(&tensor).unwrap(), theirs.of(&tensor).unwrap());
            assert_eq!(own.len(), theirs.len(), "{tensor} of {name}");
            for (own, theirs) in own.iter().zip(theirs) {
                assert!((own - theirs).abs() < 1e-3 * theirs, "{tensor} of {name}: {own} and {theirs}");
            }
        }
    }
}

#[test]
fn bits_go_where_they_are_worth_most() {
    let input = floats();
    let output = beside(&input, "fitted.gguf");
    let told = |bits: &str| mote_with(|c| c.args(["quantize", &input, &output, "--target-bpw", bits])).ok();
    let number = |told: &str, before: &str| -> f64 {
        let rest = told.split(before).nth(1).unwrap_or_else(|| panic!("{told}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let mut last = f64::INFINITY;
    for bits in ["5", "6", "8"] {
        let told = told(bits);
        let used: f64 = told.split(" bits per").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        let wanted: f64 = bits.parse().unwrap();
        assert!(used <= wanted && used > wanted - 0.4, "{told}");
        let (predicted, error) = (number(&told, "predicted error "), number(&told, " %, error "));
        assert!((predicted - error).abs() < 0.1 * error, "{told}");
        assert!(error < last, "{told}");
        last = error;
    }
}
