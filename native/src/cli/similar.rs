//! `mote similar`: the texts of a file that are nearest to a query, by the cosine of their vectors, or by the score of a
//! reranker. All of them are compared; nothing is approximated.

mod kept;

use motelm_core::embed::{Embedder, Pooling, Task};
use serde::Serialize;

use super::args::SimilarArgs;
use super::embed::{Line, Lines, embedder, prompt};
use super::errors::{Failure, Kind};
use super::output;
use kept::{Kept, hash};

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    score: f32,
    line: usize,
    text: &'a str,
}

/// Shows the nearest texts.
pub fn similar(args: &SimilarArgs) -> Result<(), Failure> {
    let embedder = embedder(&args.encode)?;
    let lines: Vec<Line> =
        Lines::new(&[], Some(&args.file), args.lines.field.as_deref())?.collect::<Result<_, _>>()?;
    let scores = match embedder.pooling() {
        Pooling::None => {
            let what = "vectors of tokens are not compared";
            return Err(Failure::new(Kind::Usage, what).hint("choose another --pooling"));
        }
        Pooling::Rank => {
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            embedder.rank(&args.query, &texts)?
        }
        _ => cosines(args, &embedder, &lines)?,
    };
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let found = order.into_iter().take(args.top).map(|i| Found {
        score: scores[i],
        line: lines[i].number,
        text: &lines[i].text,
    });
    if args.json {
        return output::json(&Results { results: found.collect() });
    }
    output::show(&found.map(|found| format!("{:.4}  {}\n", found.score, found.text)).collect::<String>())
}

/// The cosine of each line's vector and the query's.
fn cosines(args: &SimilarArgs, embedder: &Embedder, lines: &[Line]) -> Result<Vec<f32>, Failure> {
    let query_task = task(embedder, args.query_task.as_deref(), "query")?;
    let document_task = task(embedder, args.document_task.as_deref(), "document")?;
    let texts: Vec<String> = lines.iter().map(|line| prompt(document_task, line)).collect();
    let hashes: Vec<u64> = texts.iter().map(|text| hash(text)).collect();

    let path = if args.no_cache { None } else { args.cache.clone().or_else(|| kept::path_for(&args.file)) };
    let owner = kept::owner(embedder, &args.encode);
    let mut kept = path.as_deref().map_or_else(Kept::default, |path| Kept::read(path, owner, embedder.dim()));
    let mut new: Vec<usize> = (0..texts.len()).filter(|&i| kept.vector(hashes[i]).is_none()).collect();
    // A text that stands there twice is embedded once.
    new.sort_by_key(|&i| hashes[i]);
    new.dedup_by_key(|i| hashes[*i]);
    new.sort_unstable();
    let new_texts: Vec<&str> = new.iter().map(|&i| texts[i].as_str()).collect();
    let mut worker = embedder.worker();
    let vectors = worker.embed(&new_texts)?;
    for (&i, vector) in new.iter().zip(vectors.vectors()) {
        kept.insert(hashes[i], vector);
    }
    if let Some(path) = path.filter(|_| !new.is_empty()) {
        kept.retain(&hashes);
        if let Err(error) = kept.write(&path, owner) {
            output::tell(&format!("warning: {} cannot be written: {error}\n", path.display()));
        }
    }
    let query = query_task.map_or_else(|| args.query.clone(), |task| task.prompt(&args.query));
    let query = worker.embed(&[query])?;
    let vector = |hash: &u64| kept.vector(*hash).expect("all are there");
    Ok(hashes.iter().map(|hash| motelm_core::embed::similarity(query.of(0), vector(hash))).collect())
}

/// The task of this name, or else the usual one where the model knows it.
fn task(embedder: &Embedder, name: Option<&str>, usual: &str) -> Result<Option<Task>, Failure> {
    match name {
        Some(name) => Ok(Some(embedder.task(name)?)),
        None => Ok(embedder.task(usual).ok()),
    }
}
