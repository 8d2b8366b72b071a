//! What JavaScript sees of the engine, in a real browser.
#![cfg(target_family = "wasm")]

use js_sys::{JSON, Reflect, Uint8Array};
use motelm_core::gguf::{Value as Meta, Writer};
use motelm_core::quant::Dtype;
use motelm_wasm::{Did, Embedder, Failure, Head, Loader, Model, Session};
use serde_json::{Value, json};
use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test as test;

const TALES: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");

fn load(bytes: &[u8], piece: usize) -> Result<Model, Failure> {
    let mut loader = Loader::new(vec![bytes.len() as f64])?;
    for piece in bytes.chunks(piece) {
        loader.push(&Uint8Array::from(piece))?;
    }
    assert_eq!(loader.received(), bytes.len() as f64);
    loader.finish()
}

fn tales() -> Model {
    load(TALES, 10_000).unwrap()
}

/// What JavaScript would write as JSON.
fn js(json: &Value) -> JsValue {
    JSON::parse(&json.to_string()).unwrap()
}

fn none() -> JsValue {
    JsValue::UNDEFINED
}

/// The same the other way.
fn parse(value: impl Into<JsValue>) -> Value {
    serde_json::from_str(&String::from(JSON::stringify(&value.into()).unwrap())).unwrap()
}

#[test]
fn a_head_describes_and_plans() {
    let read = |n: usize| Head::read(vec![Uint8Array::from(&TALES[..n])], vec![TALES.len() as f64]);
    assert!(read(1000).unwrap().is_none());
    let head = read(TALES.len() / 4).unwrap().expect("the head is in the first quarter");
    let info = parse(head.info());
    assert_eq!(info["architecture"], "llama");
    assert_eq!(info["bytes"], TALES.len());
    assert_eq!(info["weights"], "Q8_0");
    let plan = parse(head.plan(&js(&json!({ "context": 64 }))).unwrap());
    let model = tales();
    assert_eq!(
        plan["kv"].as_f64().unwrap() + plan["buffers"].as_f64().unwrap(),
        model.memory(&js(&json!({ "context": 64 }))).unwrap()
    );
    assert!(plan["total"].as_u64().unwrap() > TALES.len() as u64);
    assert_eq!(info, parse(model.info()));
    assert_eq!(parse(head.tensors()), parse(model.tensors()));
    let keys = parse(model.metadata());
    assert!(keys.as_array().unwrap().iter().any(|entry| entry[0] == "general.architecture"));
}

#[test]
fn what_cannot_fit_is_refused_with_the_reason() {
    let failure = Loader::new(vec![8e19]).map(drop).unwrap_err();
    assert_eq!(failure.code, "Memory");
    let head = Head::read(vec![Uint8Array::from(TALES)], vec![TALES.len() as f64]).unwrap().unwrap();
    let failure = head.plan(&js(&json!({ "context": 100000000, "kv": "f32" }))).unwrap_err();
    assert_eq!(failure.code, "Memory", "{}", failure.message);
}

#[test]
fn a_damaged_file_is_an_error_with_a_code() {
    let failure = load(&TALES[..1000], 100).map(drop).unwrap_err();
    assert_eq!(failure.code, "Truncated");
    let failure = load(&[7; 1000], 100).map(drop).unwrap_err();
    assert_eq!(failure.code, "Malformed");
    let mut loader = Loader::new(vec![TALES.len() as f64]).unwrap();
    loader.push(&Uint8Array::from(&TALES[..200_000])).unwrap();
    assert_eq!(loader.finish().map(drop).unwrap_err().code, "Truncated");
    let error = JsValue::from(failure);
    assert_eq!(Reflect::get(&error, &"code".into()).unwrap().as_string().unwrap(), "Malformed");
    assert!(js_sys::Error::from(error).message().length() > 10);
}

/// The text of a generation in small steps, and why it ended.
fn tell(session: &mut Session, prompt: &[u32], options: &Value) -> (String, String) {
    session.start(prompt, &js(options)).unwrap();
    let mut text = String::new();
    loop {
        let did = session.step(3, 2).unwrap();
        text.push_str(&session.text());
        match did {
            Did::Prefill => assert!(session.pending() > 0),
            Did::Token => assert!(session.token().is_some()),
            Did::Done => return (text, session.stop().unwrap()),
        }
    }
}

#[test]
fn a_seed_tells_one_story() {
    let model = tales();
    let prompt = model.tokenize("Once upon a time", true, false);
    let mut session = model.session(&js(&json!({ "context": 128 }))).unwrap();
    let mut tell = |seed: u64| {
        let options = json!({ "seed": seed, "maxTokens": 40, "temperature": 0.6, "topK": 40 });
        tell(&mut session, &prompt, &options)
    };
    let story = tell(1);
    assert!(story.0.len() > 60, "{story:?}");
    assert_ne!(tell(2), story);
    assert_eq!(tell(1), story);
}

#[test]
fn a_longer_text_reuses_the_shorter() {
    let model = tales();
    let mut session = model.session(&none()).unwrap();
    let prompt = model.tokenize("Once upon a time there was", true, false);
    let options = json!({ "maxTokens": 5, "temperature": 0 });
    tell(&mut session, &prompt, &options);
    let held = session.tokens();
    let longer = [held.clone(), model.tokenize(" a king", false, false)].concat();
    assert_eq!(session.start(&longer, &none()).unwrap(), held.len());
}

#[test]
fn stops_limits_and_biases_are_heard() {
    let model = tales();
    let prompt = model.tokenize("Once upon a time", true, false);
    let mut session = model.session(&none()).unwrap();
    let greedy = json!({ "maxTokens": 30, "temperature": 0 });
    let (story, why) = tell(&mut session, &prompt, &greedy);
    assert_eq!(why, "length");
    let word = story.split_whitespace().nth(3).unwrap();
    let (short, why) =
        tell(&mut session, &prompt, &json!({ "maxTokens": 30, "temperature": 0, "stop": [word] }));
    assert_eq!((short.as_str(), why.as_str()), (story.split_once(word).unwrap().0, "stop"));
    let first = model.tokenize(&story, false, false)[0];
    let biased = json!({ "maxTokens": 30, "temperature": 0, "logitBias": [[first, -1e9]] });
    assert_ne!(tell(&mut session, &prompt, &biased).0, story);
    session.start(&prompt, &js(&json!({ "temperature": 0, "logProbs": 2 }))).unwrap();
    assert_eq!(session.step(100, 100).unwrap(), Did::Token);
    let log_probs = parse(session.log_probs().unwrap());
    assert_eq!(log_probs["top"].as_array().unwrap().len(), 2);
    assert!(log_probs["logProb"].as_f64().unwrap() <= 0.0);
}

#[test]
fn a_saved_session_goes_on_the_same() {
    let model = tales();
    let prompt = model.tokenize("Once upon a time there was a", true, false);
    let mut session = model.session(&none()).unwrap();
    let logits = session.probe(&prompt).unwrap();
    assert_eq!(logits.len(), parse(model.info())["vocabulary"].as_u64().unwrap() as usize);
    let saved = session.save();
    let mut other = model.session(&js(&json!({ "context": 64 }))).unwrap();
    other.restore(&saved).unwrap();
    assert_eq!(other.tokens(), prompt);
    // One token alone is summed in another order than several.
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
    assert!(other.probe(&prompt).unwrap().iter().zip(&logits).all(close));
    assert_eq!(other.restore(&saved[..100]).unwrap_err().code, "State");
}

#[test]
fn text_and_tokens_are_two_views_of_one_thing() {
    let model = tales();
    let text = "The king's daughter said: é!";
    assert_eq!(model.detokenize(&model.tokenize(text, true, false), false), text);
}

#[test]
fn a_conversation_becomes_text() {
    let model = tales();
    assert_eq!(model.chat_template(None).unwrap_err().code, "Template");
    let bos = model.ends()[0].clone();
    let tokenizer = tales();
    let guard = Closure::<dyn Fn(String) -> String>::new(move |text: String| tokenizer.guard(&text));
    let render = |template: &str, messages: Value, options: &str| {
        let guard = guard.as_ref().unchecked_ref();
        let text = motelm_wasm_chat::render(template, &messages.to_string(), options, guard);
        text.map_err(|error| String::from(js_sys::Error::from(JsValue::from(error)).message()))
    };
    let template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{{ day }}";
    let messages = json!([{ "role": "user", "content": bos }]);
    let options = json!({ "bos": bos, "variables": { "day": "Monday" }, "now": "2026-01-31T12:30:45" });
    let text = render(template, messages.clone(), &options.to_string()).unwrap();
    let tokens = model.chat_tokens(&text);
    assert_eq!(model.detokenize(&tokens, true), format!("{bos}[{bos}]Monday"));
    // The template's is the token, and the user's a text.
    assert_eq!(tokens.iter().filter(|&&id| id == tokens[0]).count(), 1);
    assert_eq!(render("{{ strftime_now('%d') }}", messages.clone(), &options.to_string()).unwrap(), "31");
    for (template, messages, options) in [
        ("{{", messages.clone(), "{}"),
        ("{{ raise_exception('no') }}", messages.clone(), "{}"),
        ("", json!({}), "{}"),
        ("", json!([{ "content": "who?" }]), "{}"),
        ("", messages.clone(), r#"{"nonsense": 1}"#),
        ("", messages.clone(), r#"{"now": "today"}"#),
    ] {
        assert!(render(template, messages.clone(), options).is_err(), "{template} {messages} {options}");
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let model = tales();
    let mut session = model.session(&js(&json!({ "context": 16 }))).unwrap();
    let long = model.tokenize(&"Once upon a time ".repeat(20), true, false);
    assert_eq!(session.start(&long, &none()).unwrap_err().code, "ContextFull");
    for options in [
        json!({ "temperature": "hot" }),
        json!({ "topP": 2 }),
        json!({ "nonsense": 1 }),
        json!({ "seed": -1 }),
        json!({ "topK": 1.5 }),
        json!({ "stop": "text" }),
        json!({ "logitBias": [[1]] }),
        json!(7),
    ] {
        assert_eq!(session.start(&[1], &js(&options)).unwrap_err().code, "Argument", "{options}");
    }
    assert_eq!(session.start(&[1], &js(&json!({ "topK": null }))).unwrap(), 0);
    assert_eq!(session.start(&[], &none()).unwrap_err().code, "Argument");
    assert_eq!(session.step(1, 1).unwrap_err().code, "Argument");
    assert_eq!(model.session(&js(&json!({ "kv": "f8" }))).map(drop).unwrap_err().code, "Argument");
}

/// A BERT of one layer and random weights that ranks.
fn reranker() -> Model {
    const DIM: usize = 32;
    let mut writer = Writer::new();
    writer.set("general.architecture", Meta::Str(b"bert"));
    writer.set("general.name", Meta::Str(b"e5-none"));
    for (key, n) in [
        ("block_count", 1),
        ("context_length", 16),
        ("embedding_length", DIM as u32),
        ("feed_forward_length", DIM as u32),
        ("attention.head_count", 2),
        ("pooling_type", 4),
    ] {
        writer.set(&format!("bert.{key}"), Meta::U32(n));
    }
    writer.set("bert.attention.layer_norm_epsilon", Meta::F32(1e-12));
    writer.set("bert.attention.causal", Meta::Bool(false));
    writer.set("tokenizer.ggml.model", Meta::Str(b"bert"));
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "▁a", "▁b", "▁c", "▁d", "▁query", ":"];
    writer.set_strings("tokenizer.ggml.tokens", tokens.iter().map(|token| token.as_bytes()));
    for (key, id) in [("unknown", 0), ("bos", 1), ("cls", 1), ("eos", 2), ("seperator", 2)] {
        writer.set(&format!("tokenizer.ggml.{key}_token_id"), Meta::U32(id));
    }
    let matrix = |rows| vec![DIM, rows];
    let layer = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"];
    let norms = ["blk.0.attn_output_norm", "blk.0.layer_output_norm", "token_embd_norm"];
    let mut tensors = vec![
        ("token_embd.weight".to_string(), matrix(tokens.len())),
        ("position_embd.weight".into(), matrix(16)),
        ("token_types.weight".into(), matrix(2)),
        ("cls.weight".into(), matrix(DIM)),
        ("cls.bias".into(), vec![DIM]),
        ("cls.output.weight".into(), matrix(1)),
    ];
    for name in layer {
        tensors.push((format!("blk.0.{name}.weight"), matrix(DIM)));
        tensors.push((format!("blk.0.{name}.bias"), vec![DIM]));
    }
    tensors.extend(
        norms.iter().flat_map(|name| ["weight", "bias"].map(|part| (format!("{name}.{part}"), vec![DIM]))),
    );
    let mut data: Vec<u8> = Vec::new();
    for (name, dims) in &tensors {
        let len = writer.tensor(name, Dtype::F32, dims).unwrap();
        let first = data.len();
        data.extend((0..len / 4).flat_map(|i| ((((first + i) as f32) * 0.7).sin() / 4.0).to_le_bytes()));
        data.resize(first + len + Writer::padding(len), 0);
    }
    load(&[writer.head(), data].concat(), 10_000).unwrap()
}

/// All vectors, and in how many batches they came.
fn vectors(embedder: &mut Embedder) -> (Vec<Vec<f32>>, usize) {
    let (mut vectors, mut batches) = (Vec::new(), 0);
    while let Some(made) = embedder.step().unwrap() {
        vectors.extend(made.iter().map(js_sys::Float32Array::to_vec));
        batches += 1;
    }
    (vectors, batches)
}

#[test]
fn texts_become_vectors_batch_by_batch() {
    let model = reranker();
    let texts = js(&json!(["a b c", "d", { "title": "b", "text": "c" }]));
    let mut alone = model.embedder(&js(&json!({ "pooling": "mean", "batch": 1 }))).unwrap();
    assert_eq!(alone.texts(&texts, None).unwrap(), [5, 0, 3, 0, 4, 0]);
    let mut together = model.embedder(&js(&json!({ "pooling": "mean" }))).unwrap();
    together.texts(&texts, None).unwrap();
    let (alone, together) = (vectors(&mut alone), vectors(&mut together));
    assert_eq!((alone.1, together.1), (3, 1));
    assert_eq!(alone.0, together.0);
    assert!(alone.0.iter().all(|vector| vector.len() == 32));
    let mut cut = model.embedder(&js(&json!({ "pooling": "none", "dim": 8, "maxTokens": 4 }))).unwrap();
    assert_eq!((cut.max_tokens(), cut.tasks()), (4, vec!["query".to_string(), "document".into()]));
    assert_eq!(cut.texts(&js(&json!(["a b c d"])), None).unwrap(), [4, 2]);
    assert_eq!(vectors(&mut cut).0[0].len(), 4 * 8);
    assert_eq!(cut.texts(&js(&json!(["a"])), Some("query".into())).unwrap(), [4, 1]);
    for wrong in [json!(["a", 7]), json!([{ "title": "a" }]), json!("a")] {
        assert_eq!(cut.texts(&js(&wrong), None).unwrap_err().code, "Argument", "{wrong}");
    }
    assert_eq!(cut.texts(&js(&json!([])), Some("cooking".into())).unwrap_err().code, "Argument");
    assert_eq!(cut.pairs("a", vec!["b".into()]).unwrap_err().code, "Argument");
    assert_eq!(model.embedder(&js(&json!({ "pooling": "most" }))).map(drop).unwrap_err().code, "Argument");
    assert_eq!(tales().embedder(&none()).map(drop).unwrap_err().code, "Argument");
}

#[test]
fn a_reranker_scores_documents() {
    let model = reranker();
    let mut embedder = model.embedder(&none()).unwrap();
    let documents = ["b c", "d"].map(String::from).to_vec();
    assert_eq!(embedder.pairs("a", documents.clone()).unwrap(), [6, 0, 5, 0]);
    let (both, _) = vectors(&mut embedder);
    assert!(both.iter().all(|score| score.len() == 1 && score[0].is_finite()));
    assert_ne!(both[0], both[1]);
    embedder.pairs("a", documents[1..].to_vec()).unwrap();
    assert_eq!(vectors(&mut embedder).0, both[1..]);
}
