//! Prints this machine's limits as JSON: bytes per second by number of threads, operations per second of one thread.

use motelm_benches::{integer_peak, read_bandwidth};
use serde_json::json;

fn main() {
    let cores = motelm::machine::physical_cores();
    let mut threads = vec![1];
    threads.extend((cores > 1).then_some(cores));
    let read: serde_json::Map<String, serde_json::Value> =
        threads.into_iter().map(|n| (n.to_string(), json!(read_bandwidth(n)))).collect();
    let peak = integer_peak().map(|(instruction, rate)| json!({ "instruction": instruction, "rate": rate }));
    println!("{}", json!({ "read": read, "integer_peak": peak }));
}
