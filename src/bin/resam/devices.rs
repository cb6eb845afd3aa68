//! `resam devices`: what there is to compute on.

use crate::failure::Failure;
use crate::print;
use indicatif::BinaryBytes;
use resam::{AdapterInfo, Engine};
use serde_json::json;

/// List the devices, their limits, and which one `--device auto` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`resam aggregate --device` takes auto, gpu, gpus (all real GPUs as one), cpu, reference, or any part of a name or driver below, with \
#1 behind it for the second of that name. auto, gpu and gpus take only real GPUs; a software adapter such as llvmpipe must be named.")]
pub(crate) struct DevicesArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: DevicesArgs) -> Result<(), Failure> {
    let adapters = pollster::block_on(resam::adapters());
    // Opened, not guessed: what `auto` says here is what an aggregate gets.
    let auto = Engine::open_blocking("auto").map(|e| e.name()).map_err(Failure::from);
    let why = if adapters.iter().any(|a| a.real) { "the best real GPU" } else { "there is no real GPU" };
    if args.json {
        let (device, error) = (auto.as_ref().ok(), auto.as_ref().err().map(Failure::to_string));
        let host = [Engine::cpu().name(), Engine::reference().name()];
        return print::json(&json!({
            "auto": { "device": device, "why": why, "error": error },
            "host": host,
            "adapters": adapters,
        }));
    }
    let header =
        ["name", "driver", "backend", "kind", "real GPU", "binding", "buffer", "workgroup", "threads", "subgroups", "timestamps"];
    let none = || "-".to_string();
    let host = |engine: Engine| std::array::from_fn(|column| if column == 0 { engine.name() } else { none() });
    let mut rows = vec![header.map(String::from)];
    rows.extend(adapters.iter().map(cells));
    rows.extend([host(Engine::cpu()), host(Engine::reference())]);
    let verdict = match auto {
        Ok(device) => format!("auto takes {device}: {why}"),
        Err(e) => format!("auto fails: {e}"),
    };
    print::out(&format!("{}\n{verdict}\n", print::table(&rows)))
}

fn cells(a: &AdapterInfo) -> [String; 11] {
    let yes = |b: bool| if b { "yes" } else { "no" }.to_string();
    let bytes = |b: u64| BinaryBytes(b).to_string();
    [
        a.name.clone(),
        a.driver.clone(),
        a.backend.clone(),
        a.kind.clone(),
        yes(a.real),
        bytes(a.max_binding_bytes),
        bytes(a.max_buffer_bytes),
        bytes(a.max_workgroup_bytes.into()),
        a.max_workgroup_invocations.to_string(),
        yes(a.subgroups),
        yes(a.timestamps),
    ]
}
