//! Power cuts during recovery, at each of its operations in turn.

use super::*;

/// One in which replaced segments are left over.
const SEED: u64 = 5;
const SCRIPT: Script = Script { steps: 40, seed: SEED, is_bulk: false };

/// Operations that opening a log takes when nothing cuts it.
fn operations(image: &MemoryStorage, model: &Model) -> Result<u64, String> {
    let sim = image.copy();
    let before = sim.ops();
    model.again().open(&sim)?.ok_or("the log does not start")?;
    Ok(sim.ops() - before)
}

/// What the cut of the script leaves whose recovery takes the most operations.
fn longest(random: &mut Random) -> Result<(u64, MemoryStorage, Model), String> {
    let whole = MemoryStorage::default();
    run(&whole, SCRIPT)?;
    let mut longest: Option<(u64, MemoryStorage, Model)> = None;
    for cut_at in (1..=whole.ops()).rev() {
        let sim = MemoryStorage::default();
        sim.cut_after(cut_at);
        let model = run(&sim, SCRIPT)?;
        let image = sim.crash(random);
        let found = operations(&image, &model)?;
        if longest.as_ref().is_none_or(|(most, ..)| found > *most) {
            longest = Some((found, image, model));
        }
    }
    longest.ok_or_else(|| "the script does nothing".to_owned())
}

/// Opens a copy of `image`, cut at an operation; what is left of it, and what is durable now.
fn cut(
    image: &MemoryStorage,
    model: &Model,
    at: u64,
    random: &mut Random,
) -> Result<(MemoryStorage, Model), String> {
    let (sim, mut model) = (image.copy(), model.again());
    sim.cut_after(at);
    drop(model.open(&sim)?);
    ensure(sim.is_cut(), || format!("there is no operation {at}"))?;
    Ok((sim.crash(random), model))
}

#[test]
fn f11_a_cut_at_each_operation_of_a_recovery_and_of_the_next_one() {
    let mut random = Random(SEED);
    let (first, image, model) = longest(&mut random).unwrap();
    assert!(first > 10 && model.durable.load(Ordering::SeqCst) > 10, "{first} operations");
    let mut checked = 0;
    for at in (1..=first).flat_map(|at| [at; IMAGES as usize]) {
        let (left, model) = cut(&image, &model, at, &mut random).unwrap();
        let second = operations(&left, &model).unwrap();
        for again in 1..=second {
            let of_both =
                cut(&left, &model, again, &mut random).and_then(|(left, model)| model.check_image(&left));
            of_both.unwrap_or_else(|fault| panic!("operation {at} of {first}, {again} of {second}: {fault}"));
            checked += 1;
        }
    }
    assert!(checked > 5 * IMAGES * first, "{checked} pairs of cuts");
}
