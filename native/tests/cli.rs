//! The built command, from outside: what it prints, what it refuses, and how it ends.

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use common::{Outcome, bundled_path, mote, mote_fed, mote_with, scratch, spawn};
use motelm_core::gguf::{self, TensorInfo, Writer};
use serde_json::Value;

/// What the bundled model makes of "Once upon a time" when it always takes the likeliest token.
const STORY: &str = "Once upon a time there lived a king who had three sons. He was a very handsome and handsome, \
                     and had a son called Sigurd, and he was so beautiful that he could not have been able to do it. \
                     So he";

#[test]
fn the_greedy_story_is_always_the_same() {
    for threads in ["1", "2"] {
        let told = mote(&["run", "--temp", "0", "-n", "48", "-t", threads, "Once upon a time"]).ok();
        assert!(told.starts_with(STORY), "{told}");
    }
    let read = mote_with(|c| {
        c.args(["run", "--temp", "0", "-n", "48", "Once upon a time", "--no-mmap", "-m"]).arg(bundled_path())
    });
    assert!(read.ok().starts_with(STORY));
    let json = mote(&["run", "--temp", "0", "-n", "48", "--json", "Once upon a time"]).json();
    assert_eq!(json["text"].as_str().unwrap().trim_end(), &STORY["Once upon a time".len()..]);
}

/// The files that the references quote come with the development machine, not with the repository.
#[test]
fn stories_of_the_training_run() {
    let models = common::golden().join("../models");
    if !models.is_dir() {
        eprintln!("SKIPPED: the F32 story models are not at {}", models.display());
        return;
    }
    for (model, story, n) in [
        ("tales-2M-F32.gguf", STORY, "48"),
        (
            "tales-280K-F32.gguf",
            "Once upon a time there was a moment to beginning to the Golden Blackbird, who was a few minutes, and \
             then he was a few min",
            "48",
        ),
    ] {
        let path = models.join(model);
        let told = mote_with(|c| {
            c.args(["run", "--temp", "0", "--kv", "f32", "-n", n, "Once upon a time", "-m"]).arg(path)
        });
        assert_eq!(told.ok().trim_end(), story, "{model}");
    }
}

#[test]
fn equal_seeds_tell_equal_stories() {
    let story = |seed: &str, threads: &str| {
        mote(&["run", "--seed", seed, "-t", threads, "-n", "60", "The old woman"]).ok()
    };
    let first = story("7", "1");
    assert_eq!(first, story("7", "2"));
    assert_ne!(first, story("8", "1"));
    assert!(first.starts_with("The old woman ") && first.ends_with('\n'), "{first}");
}

#[test]
fn the_microcontroller_tells_this_story_too() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tales-280K-Q8_0.gguf");
    let told = mote(&[
        "run",
        "-m",
        model,
        "--level",
        "scalar",
        "--seed",
        "7",
        "--temp",
        "0.6",
        "-n",
        "80",
        "Once upon a time",
    ]);
    assert_eq!(told.ok(), include_str!("../../embedded/story.txt"));
}

#[test]
fn json_says_everything() {
    let json = mote(&["run", "--json", "--seed", "1", "-n", "5", "--logprobs", "3", "Hello"]).json();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 5);
    assert_eq!((json["stop"].as_str(), json["seed"].as_u64()), (Some("max_tokens"), Some(1)));
    assert!(json["prompt_tokens"].as_u64().unwrap() > 1);
    assert!(json["timings"]["prompt_ms"].as_f64().unwrap() > 0.0);
    assert!(json["timings"]["threads"].as_u64().unwrap() >= 1);
    let log_probs = json["logprobs"].as_array().unwrap();
    assert_eq!(log_probs.len(), 5);
    for (token, report) in json["tokens"].as_array().unwrap().iter().zip(log_probs) {
        assert_eq!(&report["id"], token);
        assert!(report["logprob"].as_f64().unwrap() <= 0.0);
        let top = report["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
    }
    let pieces: String = log_probs.iter().map(|report| report["text"].as_str().unwrap()).collect();
    assert_eq!(json["text"].as_str().unwrap(), pieces);
}

#[test]
fn prompts_come_from_everywhere() {
    let file = scratch("prompt.txt", b"Once upon a time");
    let greedy = ["run", "--temp", "0", "-n", "6", "--json"];
    let text = |outcome: Outcome| outcome.json()["text"].as_str().unwrap().to_string();
    let typed = text(mote_with(|c| c.args(greedy).arg("Once upon a time")));
    assert_eq!(typed, " there lived a king who had");
    assert_eq!(text(mote_with(|c| c.args(greedy).arg("-f").arg(&file))), typed);
    assert_eq!(text(mote_fed(|c| c.args(greedy).arg("-"), b"Once upon a time")), typed);
    let ids = mote(&["tokenize", "--json", "Once upon a time"]).json()["ids"].to_string();
    let ids = ids.trim_matches(['[', ']']);
    assert_eq!(text(mote_with(|c| c.args(greedy).args(["--tokens", ids]))), typed);
    // Piped prompts are not repeated.
    let piped = mote_fed(|c| c.args(["run", "--temp", "0", "-n", "6", "-"]), b"Once upon a time");
    assert_eq!(piped.ok(), format!("{typed}\n"));
}

#[test]
fn texts_stop_where_they_should() {
    let run = |extra: &[&str]| mote_with(|c| c.args(["run", "--temp", "0", "Once upon a time"]).args(extra));
    let stopped = run(&["--json", "--stop", " three sons"]).json();
    assert_eq!(stopped["text"], " there lived a king who had");
    assert_eq!(stopped["stop"], "stop_string");
    let full = run(&["--json", "-c", "20"]).json();
    assert_eq!(full["stop"], "context_full");
    let shifted = run(&["--json", "-c", "20", "-n", "60", "--shift", "--ignore-eos"]).json();
    assert_eq!(
        (shifted["stop"].as_str(), shifted["tokens"].as_array().unwrap().len()),
        (Some("max_tokens"), 60)
    );
    let none = run(&["--json", "-n", "0"]).json();
    assert_eq!((none["text"].as_str(), none["stop"].as_str()), (Some(""), Some("max_tokens")));
}

#[test]
fn more_threads_than_cores_are_fine() {
    let outcome = mote(&["run", "-t", "64", "-n", "3", "--stats", "Hello"]);
    assert_eq!(outcome.code, Some(0));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 64 {
        assert!(outcome.stderr.contains(&format!("{cores} (asked for 64;")), "{}", outcome.stderr);
    }
    assert!(outcome.stderr.contains("tokens/s"), "{}", outcome.stderr);
}

#[test]
fn tokens_and_back() {
    let text = "The wolf\nsaid: \"Größe\" \u{1f999}";
    let json = mote(&["tokenize", "--json", "--no-add-special", text]).json();
    let pieces: Vec<&str> = json["pieces"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    let ids: Vec<String> = json["ids"].as_array().unwrap().iter().map(|id| id.to_string()).collect();
    assert_eq!(pieces.len(), ids.len());
    assert!(pieces.concat().starts_with("The wolf\nsaid: \"Gr"), "{pieces:?}");
    assert_eq!(mote(&["tokenize", "--detokenize", &ids.join(",")]).ok(), format!("{text}\n"));
    let with = mote(&["tokenize", "--json", "<|endoftext|>"]).json();
    assert_eq!(with["ids"], serde_json::json!([0, 0]));
    let without =
        mote(&["tokenize", "--json", "--no-parse-special", "--no-add-special", "<|endoftext|>"]).json();
    assert!(without["ids"].as_array().unwrap().len() > 1);
    mote(&["tokenize", "--detokenize", "999999"]).refused(2, "token 999999 is not in the vocabulary of 1536");
}

/// A file with the bundled model's metadata and nothing else.
fn vocabulary() -> Vec<u8> {
    let mut writer = Writer::new();
    motelm::bundled().metadata().for_each(|(key, value)| writer.set(key, value));
    writer.head()
}

#[test]
fn a_vocabulary_alone_tokenizes() {
    let path = scratch("vocabulary.gguf", &vocabulary());
    let path = path.to_str().unwrap();
    let ids = mote(&["tokenize", "-m", path, "--json", "Once upon"]).json()["ids"].clone();
    assert_eq!(ids, mote(&["tokenize", "--json", "Once upon"]).json()["ids"]);
    mote(&["run", "-m", path, "x"]).refused(3, "holds a vocabulary, but no model; hint: `mote tokenize`");
    assert_eq!(mote(&["inspect", path]).code, Some(0));
    assert_eq!(mote(&["inspect", path, "--plan"]).code, Some(3));
}

#[test]
fn split_models_open_by_any_part() {
    let whole = motelm::bundled();
    let (first, second) = whole.tensors().split_at(whole.tensors().len() / 2);
    let part = |number: u16, tensors: &[TensorInfo]| {
        let mut writer = Writer::new();
        if number == 0 {
            whole.metadata().for_each(|(key, value)| writer.set(key, value));
        }
        writer.set("split.no", gguf::Value::U16(number));
        writer.set("split.count", gguf::Value::U16(2));
        writer.set("split.tensors.count", gguf::Value::I32(whole.tensors().len() as i32));
        for tensor in tensors {
            writer.tensor(&tensor.name, tensor.dtype, tensor.dims()).unwrap();
        }
        let mut bytes = writer.head();
        for tensor in tensors {
            bytes.extend(&*whole.data(tensor));
            bytes.resize(bytes.len() + Writer::padding(tensor.len), 0);
        }
        bytes
    };
    let path = scratch("tale-00001-of-00002.gguf", &part(0, first));
    let other = path.with_file_name("tale-00002-of-00002.gguf");
    let run = |path: &Path| {
        mote_with(|c| c.args(["run", "--temp", "0", "-n", "6", "Once upon a time", "-m"]).arg(path))
    };
    run(&path).refused(3, "tale-00002-of-00002.gguf: ");
    fs::write(&other, part(1, second)).unwrap();
    for path in [&path, &other] {
        assert_eq!(run(path).ok(), "Once upon a time there lived a king who had\n");
    }
    let renamed = path.with_file_name("first.gguf");
    fs::copy(&path, &renamed).unwrap();
    run(&renamed).refused(3, "the model is split into 2 files, 1 were given; hint: all parts");
}

#[test]
fn inspection() {
    let path = bundled_path();
    let json = mote(&["inspect", path, "--json", "--tensors", "--plan", "--memory", "-c", "128"]).json();
    assert_eq!(json["version"], 3);
    assert_eq!(json["metadata"]["general.architecture"], "llama");
    assert_eq!(json["problem"], Value::Null);
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(json["n_tensors"].as_u64().unwrap() as usize, tensors.len());
    for tensor in tensors {
        let end = tensor["offset"].as_u64().unwrap() + tensor["bytes"].as_u64().unwrap();
        assert!(end <= json["bytes"].as_u64().unwrap(), "{tensor}");
    }
    assert!(json["plan"].as_str().unwrap().starts_with("llama: 1536 tokens, width 192"));
    // 4 layers, keys and values of 2 heads of 32, in half precision.
    assert_eq!(json["memory"]["kv"], 4 * 2 * 2 * 32 * 128 * 2);
    let told = mote(&["inspect", path, "--tensors", "--memory"]).ok();
    for part in ["general.architecture", "token_embd.weight", "Q8_0", "192 x 1536", "keys, values"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn raw_logits() {
    let ids = "0,431,420,260,418";
    let last = mote(&["probe", "--tokens", ids, "--json", "--layers"]).json();
    let all = mote(&["probe", "--tokens", ids, "--json", "--positions", "all", "--layers"]).json();
    let rows = |json: &Value| json["logits"].as_array().unwrap().clone();
    assert_eq!((rows(&last).len(), rows(&all).len()), (1, 5));
    assert_eq!(rows(&last)[0].as_array().unwrap().len(), 1536);
    // Before the first block, after each of four, after the norm.
    let stages = all["layers"].as_array().unwrap();
    assert_eq!(stages.len(), 6);
    assert!(stages.iter().all(|stage| stage.as_array().unwrap().len() == 5));
    assert_eq!(stages[0][0].as_array().unwrap().len(), 192);
    assert_eq!(last["layers"].as_array().unwrap().len(), 6);
    let logits: Vec<f32> = serde_json::from_value(rows(&last)[0].clone()).unwrap();
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let next = mote(&["run", "--tokens", ids, "--temp", "0", "-n", "1", "--json"]).json();
    assert_eq!(next["tokens"], serde_json::json!([best]));
    let told = mote(&["probe", "--tokens", ids]).ok();
    assert!(told.contains("after position 4") && told.contains(" % "), "{told}");
    mote(&["probe", "--tokens", "1,2,9999999"]).refused(2, "token 9999999 is not in the vocabulary of 1536");
}

#[test]
fn templates_render_byte_for_byte() {
    let template = scratch(
        "t.jinja",
        b"{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
          {% if add_generation_prompt %}<ai{{ x }}>{% endif %}{% if tools %}{{ tools | tojson }}{% endif %}\
          {{ strftime_now('%d.%m.%Y') }}",
    );
    let messages = scratch("m.json", "[{\"role\":\"user\",\"content\":\"H\u{e9}\\n\"}]".as_bytes());
    let extra = scratch("e.json", b"{\"x\": 5}");
    let tools = scratch("tools.json", b"[{\"b\": 1, \"a\": 2}]");
    let outcome = mote_with(|c| {
        c.arg("render").arg("--template").arg(&template).arg("--messages").arg(&messages);
        c.arg("--extra").arg(&extra).arg("--tools").arg(&tools);
        c.args(["--bos", "<s>", "--now", "2024-07-26T12:30:45"])
    });
    assert_eq!(outcome.ok(), "<s><user>H\u{e9}\n<ai5>[{\"b\": 1, \"a\": 2}]26.07.2024");
    let bare = mote_with(|c| {
        c.arg("render").arg("--template").arg(&template).arg("--messages").arg(&messages);
        c.args(["--no-generation-prompt", "--now", "2024-07-26T12:30:45"])
    });
    assert_eq!(bare.ok(), "<user>H\u{e9}\n26.07.2024");

    let broken = scratch("broken.json", b"[{\"role\": }]");
    mote_with(|c| c.arg("render").arg("--template").arg(&template).arg("--messages").arg(&broken))
        .refused(3, "line 1");
    mote_with(|c| c.args(["render", "-m", bundled_path(), "--messages"]).arg(&messages))
        .refused(3, "the model has no chat template");
    mote_with(|c| c.arg("render").arg("--messages").arg(&messages)).refused(2, "--template");
}

#[test]
fn conversations() {
    mote(&["chat"]).refused(3, "the model has no chat template");
    let template = scratch("tale.jinja", b"{% for m in messages %}{{ m.content }}{% endfor %}");
    let saved = scratch("saved.json", b"");
    let input = format!(
        "/help\nOnce upon a time\n/stats\n there was\n/stats\n/save {0}\n/clear\n/load {0}\n/load /no/such\n/what\n/exit\n",
        saved.display()
    );
    let talk = mote_fed(
        |c| c.args(["chat", "--temp", "0", "-n", "6", "--template"]).arg(&template),
        input.as_bytes(),
    );
    assert_eq!(talk.code, Some(0), "{}", talk.stderr);
    for part in ["/save FILE", " there lived a king who had\n", "4 messages\n", "context "] {
        assert!(talk.stdout.contains(part), "{part}: {}", talk.stdout);
    }
    // The second turn begins with the tokens of the first, which are not worked off again.
    assert!(talk.stdout.contains("more were known)"), "{}", talk.stdout);
    assert!(
        talk.stderr.contains("/no/such: ") && talk.stderr.contains("there is no command /what; hint: /help")
    );
    let conversation: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!(conversation["messages"][1]["content"], "there lived a king who had");
}

#[test]
fn what_is_no_model() {
    mote(&["run", "-m", "no/such.gguf", "x"]).refused(3, "no/such.gguf: ");
    let folder = scratch("x", b"").parent().unwrap().to_path_buf();
    mote_with(|c| c.args(["run", "x", "-m"]).arg(&folder)).refused(3, "this is a folder, not a file");
    let picture = scratch("picture.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01");
    mote_with(|c| c.args(["run", "x", "-m"]).arg(&picture))
        .refused(3, "this is no GGUF file; hint: models for mote");
    let empty = scratch("empty.gguf", b"");
    mote_with(|c| c.args(["run", "x", "-m"]).arg(&empty)).refused(3, "empty.gguf: at byte 0");
    let whole = fs::read(bundled_path()).unwrap();
    for len in [7, 100, whole.len() / 2, whole.len() - 1] {
        let cut = scratch("cut.gguf", &whole[..len]);
        for command in
            [["run", "-m"].as_slice(), &["tokenize", "-m"], &["probe", "--tokens", "1", "-m"], &["inspect"]]
        {
            let mut outcome = mote_with(|c| {
                c.args(command).arg(&cut);
                if command[0] == "probe" || command[0] == "inspect" { c } else { c.arg("x") }
            });
            outcome.stdout.clear();
            outcome.refused(3, "download it again");
        }
    }
    let mut other = whole.clone();
    let at = other.windows(5).position(|bytes| bytes == b"llama").unwrap();
    other[at..at + 5].copy_from_slice(b"llamb");
    let other = scratch("other.gguf", &other);
    mote_with(|c| c.args(["run", "x", "-m"]).arg(&other)).refused(3, "architecture `llamb` is not known");
}

#[test]
fn speed_is_measured() {
    let args = ["bench", "-p", "8", "-n", "3", "-d", "0,5", "-t", "1", "-r", "2", "--json"];
    let report = mote(&args).json();
    let results = report["results"].as_array().unwrap();
    let tests: Vec<&str> = results.iter().map(|result| result["test"].as_str().unwrap()).collect();
    assert_eq!(tests, ["pp8", "tg3", "pp8 @ d5", "tg3 @ d5"]);
    assert!(results.iter().all(|result| result["seconds"].as_array().unwrap().len() == 2));
    assert!(results.iter().all(|result| result["tokens_per_second"].as_f64().unwrap() > 0.0));

    let table = mote(&["bench", "-p", "4", "-n", "0", "-r", "1"]).ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().last().unwrap().contains("pp4"));

    mote(&["bench", "--shape", "gpt-9:q4_0", "-o", "no-such-file"]).refused(2, "smollm2-135m");
}

#[test]
fn wrong_arguments() {
    mote(&["run"]).refused(2, "required");
    mote(&["run", "--top-p", "1.5", "x"]).refused(2, "`top_p` is 1.5; expected 0 to 1");
    mote(&["run", "-c", "0", "x"]).refused(2, "expected at least 1");
    mote(&["run", "--tokens", "1,x"]).refused(2, "`x` is no token id");
    mote(&["run", "--samplers", "top_q", "x"]).refused(2, "`top_q` is no sampler");
    mote(&["run", "--logit-bias", "7", "x"]).refused(2, "expected a token id and a number");
    mote(&["run", "--tokens", "999999"]).refused(2, "token 999999 is not in the vocabulary");
    mote(&["fly"]).refused(2, "fly");
    let outcome = mote(&["--help"]);
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stdout.contains("mote run \"Once upon a time\""));
    for command in ["run", "chat", "tokenize", "inspect", "probe", "render"] {
        assert!(mote(&["help", command]).ok().contains("Examples:"), "{command}");
    }
}

#[test]
fn prompts_that_do_not_fit() {
    let long = "word ".repeat(2000);
    let outcome = mote_fed(|c| c.args(["run", "-"]), long.as_bytes());
    let tokens = mote_fed(|c| c.args(["tokenize", "--json", "-"]), long.as_bytes()).json();
    let n = tokens["ids"].as_array().unwrap().len();
    outcome.refused(1, &format!("the prompt has {n} tokens and the context holds 256; hint: "));
    mote(&["run", "-c", "3", "Once upon a time"]).refused(1, "the context holds 3; hint: -c ");
}

#[test]
fn memory_is_counted_first() {
    let outcome = mote(&["run", "-c", "1000000000000", "x"]);
    outcome.refused(4, "hint: a smaller context (-c)");
}

#[test]
fn text_that_is_none() {
    let file = scratch("latin1.txt", b"Gr\xfc\xdfe");
    mote_with(|c| c.args(["run", "-f"]).arg(&file)).refused(3, "byte 2 is no UTF-8 text; hint: ");
    mote_fed(|c| c.args(["tokenize", "-"]), b"\xff").refused(3, "standard input: byte 0 is no UTF-8 text");
    mote(&["run", "-f", "no-such.txt"]).refused(3, "no-such.txt: ");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let argument = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
        mote_with(|c| c.arg("run").arg(argument)).refused(2, "UTF-8");
    }
}

/// An answer that would go on for ever.
const ENDLESS: [&str; 8] =
    ["run", "--ignore-eos", "--shift", "-c", "64", "-n", "1000000000", "Once upon a time"];

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = spawn(|c| c.args(ENDLESS), Stdio::null());
    let mut head = [0; 20];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), outcome.stderr.len()), (Some(0), 0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_cleanly() {
    let mut child = spawn(|c| c.args(ENDLESS), Stdio::null());
    let mut out = child.stdout.take().unwrap();
    let mut head = [0; 40];
    out.read_exact(&mut head).unwrap();
    common::interrupt(&child);
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), rest.last()), (Some(130), Some(&b'\n')));
    assert_eq!(String::from_utf8_lossy(&outcome.stderr), "");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_an_answer_but_not_the_conversation() {
    use std::io::Write;
    let template = scratch("endless.jinja", b"{% for m in messages %}{{ m.content }}{% endfor %}");
    let mut child = spawn(
        |c| c.args(["chat", "--ignore-eos", "--shift", "-c", "64", "--template"]).arg(&template),
        Stdio::piped(),
    );
    let (mut input, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    input.write_all(b"Once upon a time\n").unwrap();
    let mut head = [0; 40];
    out.read_exact(&mut head).unwrap();
    common::interrupt(&child);
    input.write_all(b"/stats\n/exit\n").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert_eq!(outcome.status.code(), Some(0));
    assert!(rest.contains("interrupted") && rest.contains("context "), "{rest}");
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("(stopped)"));
}
