//! A server that combines the momentums of n workers, round after round, when up to f of them may send anything, or nothing.
//!
//! ```text
//! cargo run --release --example server -- 127.0.0.1:8080 nnm+trimmed_mean 2 1000000 30 tokens.txt
//! ```
//!
//! Arguments: address, rule, f, d, seconds to wait for stragglers, and a file with a secret token of at least 16 letters a line, one for
//! each worker (`openssl rand -hex 32`). Worker 3 sends its d values as little-endian f32, and any worker fetches the result:
//!
//! ```text
//! curl -T momentum.f32 -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/rounds/0/workers/3
//! curl -o result.f32   -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/rounds/0
//! ```
//!
//! Tokens and momentums are sent in the clear: beyond one machine, put it behind a proxy that speaks TLS.

mod http;
mod rounds;

use http::{Limits, Server};
use resam::Engine;
use rounds::Settings;
use std::{env, error::Error, fs, time::Duration};
use tokio::{net::TcpListener, runtime::Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, rule, f, d, seconds, tokens] = &arguments[..] else {
        return Err("give an address, a rule, f, d, seconds to wait, and a file of tokens".into());
    };
    let tokens: Vec<String> = fs::read_to_string(tokens)?.split_whitespace().map(Into::into).collect();
    let deadline = Duration::from_secs(seconds.parse()?);
    let settings = Settings { rule: rule.parse()?, n: tokens.len(), f: f.parse()?, d: d.parse()?, deadline };
    let server = Server::new(settings, tokens, Limits::default())?;
    let engine = Engine::open_blocking("auto")?;
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("{} waits for momentums on {}", engine.name(), listener.local_addr()?);
        server.run(listener, engine).await;
        Ok(())
    })
}
