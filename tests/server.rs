//! The example of a server under clients that send what they like: honest workers get the right result all the same.
#![allow(missing_docs)]

#[path = "../examples/server/http.rs"]
mod http;
#[path = "../examples/server/rounds.rs"]
mod rounds;

use http::{Limits, Server};
use resam::{Engine, Rows, Spec};
use rounds::Settings;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const N: usize = 7;
const F: usize = 2;
const D: usize = 50_000;
const RULE: &str = "nnm+trimmed_mean";
/// How long a connection may last.
const LIFETIME: Duration = Duration::from_millis(1500);
/// How long it may take to say who it is.
const GREETING: Duration = Duration::from_millis(500);

/// A server on a free port, until it is dropped.
struct Running {
    address: SocketAddr,
    _runtime: Runtime,
}

fn token(worker: usize) -> String {
    format!("secret-token-of-worker-{worker}")
}

fn start(deadline: Duration, connections: usize) -> Running {
    let settings = Settings { rule: RULE.parse().expect("a rule"), n: N, f: F, d: D, deadline };
    let limits = Limits { connections, lifetime: LIFETIME, greeting: GREETING };
    let server = Server::new(settings, (0..N).map(token).collect(), limits).expect("a server");
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(server.run(listener, Engine::cpu()));
    Running { address, _runtime: runtime }
}

/// An answer: its status, and what comes behind its head.
type Answer = (u16, Vec<u8>);

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        stream
    }

    /// Sends bytes as they are; `None` when the connection ends without an answer.
    fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // The server may have answered and closed before it has read all.
        let _ = stream.write_all(bytes);
        answer(stream)
    }

    fn request(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Option<Answer> {
        self.send(&[head(method, path, token, body.len()).as_bytes(), body].concat())
    }

    fn submit(&self, round: u64, worker: usize, momentum: &[f32]) -> u16 {
        let body: Vec<u8> = momentum.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.request("PUT", &path(round, worker), &token(worker), &body).expect("an answer").0
    }

    /// The result of a round, as soon as it is there.
    fn result(&self, round: u64) -> Result<Vec<f32>, Answer> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round} does not end");
            let (status, body) = self.request("GET", &format!("/rounds/{round}"), &token(1), b"").expect("an answer");
            match status {
                200 => return Ok(body.as_chunks().0.iter().map(|y| f32::from_le_bytes(*y)).collect()),
                202 => sleep(Duration::from_millis(20)),
                _ => return Err((status, body)),
            }
        }
    }

    fn is_open(&self, round: u64) -> bool {
        self.request("GET", &format!("/rounds/{round}"), &token(1), b"").expect("an answer").0 == 202
    }
}

fn path(round: u64, worker: usize) -> String {
    format!("/rounds/{round}/workers/{worker}")
}

fn head(method: &str, path: &str, token: &str, length: usize) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n")
}

/// Reads until the server closes.
fn answer(mut stream: TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A connection that is reset is one that ended.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let status = std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()?;
    Some((status, bytes.split_off(end + 4)))
}

fn momentum(round: u64, worker: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(100 * round + worker as u64);
    (0..D).map(|_| random.f32() - 0.5).collect()
}

/// What the rule makes of all momentums of a round, of which these workers' are NaN or have not come.
fn expected(round: u64, spoilt: &[usize]) -> Vec<f32> {
    let all: Vec<Vec<f32>> = (0..N).map(|i| if spoilt.contains(&i) { vec![f32::NAN; D] } else { momentum(round, i) }).collect();
    let rule: Spec = RULE.parse().expect("a rule");
    let rows = Rows::from_vecs(&all).expect("rows");
    let values = Engine::cpu().aggregate_blocking(rule.rule(), &rows, F).expect("an aggregate").values;
    assert!(values.iter().all(|y| y.abs() < 1.0), "no result that honest workers could have wanted");
    values
}

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn honest_workers() {
    let server = start(NEVER, 64);
    for round in 0..6 {
        std::thread::scope(|scope| {
            for worker in 0..N {
                let server = &server;
                scope.spawn(move || assert_eq!(server.submit(round, worker, &momentum(round, worker)), 202));
            }
        });
        assert_eq!(server.result(round), Ok(expected(round, &[])));
    }
    assert_eq!(server.result(0).expect_err("forgotten").0, 404);
    assert_eq!(server.submit(2, 0, &momentum(2, 0)), 410);
    // Its workers have the right to results, nobody else.
    assert_eq!(server.request("GET", "/rounds/5", "secret-token-of-worker-9", b"").expect("an answer").0, 401);
}

/// Every attack on one round, before, between and after what honest workers send.
#[test]
fn hostile_clients() {
    let server = start(NEVER, 64);
    let good = momentum(0, 6);
    let body: Vec<u8> = good.iter().flat_map(|x| x.to_le_bytes()).collect();
    let status = |path: &str, token: &str, body: &[u8]| server.request("PUT", path, token, body).map(|answer| answer.0);
    let (own, own_token) = (path(0, 6), token(6));
    for worker in 0..2 {
        assert_eq!(server.submit(0, worker, &momentum(0, worker)), 202);
    }

    // No request at all, or none that makes sense.
    for bytes in [
        &b"\0\0\0\0"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT\r\n\r\n",
        &[0xff; 3000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        assert!(answer(stream).is_none_or(|(status, _)| (400..500).contains(&status)), "{bytes:?}");
    }
    assert_eq!(status("/", &own_token, &body), Some(404));
    for nonsense in
        ["/rounds/-1/workers/6", "/rounds/x/workers/6", "/rounds/0/workers/99999999999999999999999", "/rounds/%ff/workers/6"]
    {
        assert_eq!(status(nonsense, &own_token, &body), Some(400), "{nonsense}");
    }
    assert_eq!(server.request("DELETE", &own, &own_token, b"").map(|answer| answer.0), Some(405));
    assert_eq!(status(&path(0, 99), &own_token, &body), Some(403));
    let length =
        |value: &str| server.send(head("PUT", &own, &own_token, 0).replace("Length: 0", &format!("Length: {value}")).as_bytes());
    for value in ["-5", "many", "99999999999999999999999999", "0\r\nContent-Length: 7"] {
        assert_eq!(length(value).map(|answer| answer.0), Some(400), "{value}");
    }

    // Too little and too much. It is refused before it has all been read.
    assert_eq!(status(&own, &own_token, b""), Some(400));
    assert_eq!(status(&own, &own_token, &body[1..]), Some(400));
    assert_eq!(status(&own, &own_token, &[&body[..], &[0; 4]].concat()), Some(413));
    let flood = vec![0x40; 16 << 20];
    for head in [
        head("PUT", &own, &own_token, 1 << 40),
        head("PUT", &own, &own_token, 0).replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n") + "1000000\r\n",
    ] {
        let answer = server.send(&[head.as_bytes(), &flood].concat());
        // An answer may be lost when the connection is reset under what is still being sent.
        assert!(answer.is_none_or(|(status, _)| status == 413));
    }
    let headers: String = (0..5000).map(|i| format!("X-{i}: {}\r\n", "y".repeat(100))).collect();
    let answer = server.send(format!("PUT {own} HTTP/1.1\r\n{headers}\r\n").as_bytes());
    assert!(answer.is_none_or(|(status, _)| status == 431 || status == 400));

    // Somebody else.
    for wrong in
        ["", "secret-token-of-worker-", "secret-token-of-worker-66", "secret-token-of-worker-7", "Secret-token-of-worker-6"]
    {
        assert_eq!(status(&own, wrong, &body), Some(401), "{wrong}");
    }
    let anonymous = head("PUT", &own, &own_token, body.len()).replace("Authorization", "Authentication");
    assert_eq!(server.send(anonymous.as_bytes()).map(|answer| answer.0), Some(401));
    for victim in [0, 3] {
        assert_eq!(status(&path(0, victim), &own_token, &body), Some(403));
    }

    // Another time.
    assert_eq!(status(&path(1, 6), &own_token, &body), Some(409));
    assert_eq!(status(&path(u64::MAX, 6), &own_token, &body), Some(409));

    // Broken off midway, and another while one is on its way. The worker may try again.
    let mut broken = server.connect();
    broken.write_all(&[head("PUT", &own, &own_token, body.len()).as_bytes(), &body[..70_001]].concat()).expect("half of it");
    sleep(Duration::from_millis(200));
    assert_eq!(status(&own, &own_token, &body), Some(409));
    drop(broken);
    sleep(Duration::from_millis(200));

    // Slowly: the head, and the body.
    let begun = Instant::now();
    let drip = |start: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(start).expect("a start");
        while stream.write_all(b"x").is_ok() && begun.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(50));
        }
        begun.elapsed()
    };
    let body_head = head("PUT", &own, &own_token, body.len());
    std::thread::scope(|scope| {
        let slow = [&b"PUT /rounds/0/workers/6 HTTP/1.1\r\nX-Slow: "[..], body_head.as_bytes()]
            .map(|start| scope.spawn(move || drip(start)));
        let [head, body] = slow.map(|slow| slow.join().expect("a client"));
        assert!(GREETING < head && head < body && LIFETIME < body && body < LIFETIME * 6, "{head:?} {body:?}");
    });

    // NaN in a body that is as it should be; once only.
    assert!(server.is_open(0));
    assert_eq!(server.submit(0, 6, &[f32::from_bits(0xffc0_1234); D]), 202);
    for again in [&good, &vec![0.0; D]] {
        assert_eq!(server.submit(0, 6, again), 409);
    }
    for worker in 2..6 {
        assert_eq!(server.submit(0, worker, &momentum(0, worker)), 202);
    }
    assert_eq!(server.result(0), Ok(expected(0, &[6])));
    assert_eq!(server.submit(0, 6, &good), 410);
    assert!(server.is_open(1));
}

/// Absent workers count against f: no more than f are not waited for, and more are.
#[test]
fn stragglers() {
    let deadline = Duration::from_secs(2);
    let server = start(deadline, 64);
    let begun = Instant::now();
    for worker in 2..N {
        assert_eq!(server.submit(0, worker, &momentum(0, worker)), 202);
    }
    assert_eq!(server.result(0), Ok(expected(0, &[0, 1])));
    assert!(begun.elapsed() >= deadline - Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(server.submit(0, 0, &momentum(0, 0)), 410);

    // Three are missing: the deadline passes, and the round ends with the next that comes.
    for worker in 0..N - 3 {
        assert_eq!(server.submit(1, worker, &momentum(1, worker)), 202);
    }
    sleep(deadline + Duration::from_millis(500));
    assert!(server.is_open(1));
    assert_eq!(server.submit(1, 5, &momentum(1, 5)), 202);
    assert_eq!(server.result(1), Ok(expected(1, &[4, 6])));

    // Two are missing and one sends NaN: there is no result, and the next round is as good as ever.
    for worker in 0..N - 2 {
        let values = if worker == 3 { vec![f32::INFINITY; D] } else { momentum(2, worker) };
        assert_eq!(server.submit(2, worker, &values), 202);
    }
    let (status, reason) = server.result(2).expect_err("no result");
    assert_eq!(status, 422);
    assert!(String::from_utf8_lossy(&reason).contains("more than f = 2: rows [3, 5, 6]"), "{}", String::from_utf8_lossy(&reason));
    for worker in 0..N {
        assert_eq!(server.submit(3, worker, &momentum(3, worker)), 202);
    }
    assert_eq!(server.result(3), Ok(expected(3, &[])));
}

/// All places taken by clients that say nothing: they lose them soon.
#[test]
fn idle_connections() {
    let server = start(NEVER, 8);
    let idle: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    let begun = Instant::now();
    for worker in 0..N {
        assert_eq!(server.submit(0, worker, &momentum(0, worker)), 202);
    }
    assert_eq!(server.result(0), Ok(expected(0, &[])));
    assert!(begun.elapsed() < LIFETIME * 12, "{:?}", begun.elapsed());
    drop(idle);
}

#[test]
fn settings_that_cannot_serve() {
    let refusal = |rule: &str, f, tokens: Vec<String>| {
        let settings = Settings { rule: rule.parse().expect("a rule"), n: N, f, d: D, deadline: NEVER };
        Server::new(settings, tokens, Limits::default()).map(|_| ()).expect_err("a refusal")
    };
    let tokens: Vec<String> = (0..N).map(token).collect();
    assert!(refusal("median", 4, tokens.clone()).contains("f < n/2"));
    for tokens in [&tokens[1..], &[&tokens[..N - 1], &["short".into()]].concat(), &[&tokens[..N - 1], &tokens[..1]].concat()] {
        assert!(refusal("median", F, tokens.to_vec()).contains("a token of its own"));
    }
}
