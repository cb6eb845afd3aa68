#![allow(missing_docs)]
use resam::*;
fn main() {
    let e = Engine::open_blocking("lavapipe").unwrap();
    let cpu = Engine::cpu();
    println!("{}", e.name());
    let small = Options { sample: 64, ..Options::default() };
    let (e2, c2) = (e.clone().with_options(small), cpu.clone().with_options(small));
    for (n, d, f) in
        [(5, 1000, 1), (15, 10_000, 3), (25, 20_003, 5), (24, 5000, 5), (100, 9000, 20), (1, 10, 0), (2, 9000, 0), (3, 1, 1)]
    {
        let mut r = fastrand::Rng::with_seed(1);
        let data: Vec<f32> = (0..n * d).map(|i| if i / d >= n - f { -3e30 * r.f32() } else { r.f32() - 0.5 }).collect();
        let rows = Rows::from_slice(&data, n, d).unwrap();
        let mut all = rules::all();
        all.push("geometric_median:method=direct".parse::<Spec>().unwrap().into_rule());
        for rule in all {
            let t = std::time::Instant::now();
            let g = e2.aggregate_blocking(&*rule, &rows, f).unwrap();
            let tg = t.elapsed();
            let c = c2.aggregate_blocking(&*rule, &rows, f).unwrap();
            let q = Engine::reference_f64(&*rule, &rows, f).unwrap();
            let err = |a: &[f32]| {
                a.iter().zip(&q).map(|(a, b)| (f64::from(*a) - b).abs() / (1e-30 + b.abs().max(0.01))).fold(0.0, f64::max)
            };
            println!(
                "{n:3} {d:6} {:30} gpu {:e} cpu {:e} passes {}/{} it {:?} {:?} {:?} {}",
                rule.spec(),
                err(&g.values),
                err(&c.values),
                g.report.passes,
                c.report.passes,
                g.report.iterations,
                c.report.iterations,
                tg,
                if g.report.kept == c.report.kept { "" } else { "KEPT DIFFER" }
            );
        }
    }
}
