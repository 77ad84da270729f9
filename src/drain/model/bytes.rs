//! Scripts as bytes, which is what a fuzzer makes of code that it watches. All bytes are a script: each step takes
//! one for what it is and a few more for its details, so a small change to the bytes is a small change to the script.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::nonsense::{Nonsense, Talk};
use super::*;

/// Longer ones find nothing that a shorter one does not, and take longer.
const STEPS_AT_MOST: usize = 300;

/// What happens to a machine, beside its naive model.
#[derive(Debug)]
pub struct Script {
    kernel: Kernel,
    /// Groups of bystanders who are all alike, and how many they are.
    crowd: Vec<(usize, Bystander)>,
    steps: Vec<Step>,
}

/// What may be told to a machine by somebody who has not read its contract.
#[derive(Debug)]
pub struct Gibberish {
    calls: Vec<Nonsense>,
}

impl Script {
    /// Plays it, and looks whether every law holds.
    pub fn play(self) {
        let crowd = self.crowd.into_iter().flat_map(|(size, bystander)| std::iter::repeat_n(bystander, size));
        let mut world = World::with(self.kernel, crowd.collect(), Vec::new());
        for step in self.steps {
            world.play(step);
            laws::hold_now(&world);
        }
        laws::calls_that_nobody_waits_for_change_nothing(&mut world);
        world.see_through();
        laws::hold_now(&world);
        laws::have_held(&world);
    }
}

impl Gibberish {
    /// Tells it, and looks whether the machine keeps its invariants.
    pub fn play(self) {
        let mut talk = Talk::new();
        self.calls.into_iter().for_each(|nonsense| talk.say(nonsense));
    }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { kernel: kernel(input)?, crowd: crowd(input)?, steps: many(input, step)? })
    }
}

impl<'a> Arbitrary<'a> for Gibberish {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { calls: many(input, nonsense)? })
    }
}

/// As many as there are bytes for.
fn many<T>(input: &mut Unstructured<'_>, read: fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    while !input.is_empty() && found.len() < STEPS_AT_MOST {
        found.push(read(input)?);
    }
    Ok(found)
}

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    let place = |input: &mut Unstructured<'_>| input.int_in_range(0..=7_usize);
    Ok(match input.int_in_range(0..=37_u8)? {
        0 => Step::Runs(kernel(input)?),
        1 => Step::Knock(transport(input)?),
        2 => Step::Accept,
        3 => Step::Open(transport(input)?),
        4 => Step::OpenSession(transport(input)?),
        5 => Step::Follow(place(input)?),
        6 => Step::Measure(place(input)?, up_to(200, input)?),
        7 => Step::Start(place(input)?, input.arbitrary()?),
        8 => Step::Finish(place(input)?, finished(input)?),
        9 => Step::Abort(place(input)?),
        10 => Step::Pong(place(input)?),
        11 => Step::Hijack(place(input)?),
        12 => Step::Receive(place(input)?),
        13 => Step::ReceiveUnnoticed(place(input)?),
        14 => Step::NothingMore(place(input)?),
        15 => Step::Leave(place(input)?),
        16 => Step::SocketCloses(place(input)?),
        17 => Step::ServerCloses,
        18 => Step::Turn,
        19 => Step::StartTask,
        20 => Step::FinishTask(input.arbitrary()?),
        21 => Step::Look,
        22 => Step::Pass(up_to(1_000, input)?),
        23 => Step::Ring,
        24 => Step::PassUntilRing,
        25 => Step::Terminate(plan(input)?),
        26 => Step::SeeThrough,
        27 => Step::Secure(place(input)?),
        28 => Step::Break(place(input)?),
        29 => Step::BreakOff(place(input)?),
        30 => Step::EndBody(place(input)?, input.arbitrary()?),
        31 => Step::Stir(place(input)?),
        32 => Step::BeginHandshake(transport(input)?),
        33 => Step::EndHandshake,
        34 => Step::LoseHandshake,
        35 => Step::Travel(distance(input)?),
        36 => Step::Read(place(input)?, input.int_in_range(0..=3)?),
        _ => Step::Listen,
    })
}

fn nonsense(input: &mut Unstructured<'_>) -> Result<Nonsense> {
    let number = |input: &mut Unstructured<'_>| input.int_in_range(0..=300_u32);
    Ok(match input.int_in_range(0..=7_u8)? {
        0 => {
            let gap = |input: &mut _| if flip(input)? { Ok(Duration::MAX) } else { up_to(1_000, input) };
            let rhythm = if flip(input)? { Some((up_to(1_000, input)?, gap(input)?)) } else { None };
            Nonsense::Found(transport(input)?, rhythm)
        }
        1 => Nonsense::Quiet(number(input)?),
        2 => Nonsense::QuietClosed(number(input)?, number(input)?),
        3 => Nonsense::AcceptQueue(if flip(input)? { Some(number(input)?) } else { None }, number(input)?),
        4 => Nonsense::Surveyed(flip(input)?),
        _ => Nonsense::Step(step(input)?),
    })
}

fn plan(input: &mut Unstructured<'_>) -> Result<Plan> {
    Ok(Plan {
        delay: if flip(input)? { up_to(2_000, input)? } else { Duration::ZERO },
        timeout: match input.int_in_range(0..=3_u8)? {
            0 => None,
            1 => Some(Duration::ZERO),
            2 => Some(Duration::MAX),
            _ => Some(up_to(10_000, input)?),
        },
        keep_alive: match input.int_in_range(0..=3_u8)? {
            0 => KeepAlive::Auto,
            1 => KeepAlive::For(Duration::ZERO),
            2 => KeepAlive::For(Duration::MAX),
            _ => KeepAlive::For(up_to(10_000, input)?),
        },
        observed: flip(input)?,
    })
}

fn kernel(input: &mut Unstructured<'_>) -> Result<Kernel> {
    Ok(Kernel { tells: flip(input)?, holds: flip(input)? })
}

fn crowd(input: &mut Unstructured<'_>) -> Result<Vec<(usize, Bystander)>> {
    let mut crowd = Vec::new();
    // Mostly none: it takes long to look at one again and again.
    if !input.ratio(1, 8)? {
        return Ok(crowd);
    }
    for _ in 0..input.int_in_range(0..=3_u8)? {
        let size = input.int_in_range(0..=100_usize)?;
        let bystander = Bystander {
            transport: transport(input)?,
            age: if flip(input)? { Some(up_to(1_000, input)?) } else { None },
            gap: if flip(input)? { Some(up_to(200, input)?) } else { None },
        };
        crowd.push((size, bystander));
    }
    Ok(crowd)
}

fn transport(input: &mut Unstructured<'_>) -> Result<Transport> {
    input.choose(&[Transport::Plain, Transport::Tls]).copied()
}

fn distance(input: &mut Unstructured<'_>) -> Result<Distance> {
    Ok(if flip(input)? { Distance::Far { round_trip: up_to(3_000, input)? } } else { Distance::Near })
}

fn finished(input: &mut Unstructured<'_>) -> Result<Finished> {
    let arriving = *input.choose(&[Arriving::Nothing, Arriving::Body, Arriving::NextRequest])?;
    Ok(Finished { arriving, said_close: flip(input)?, ..KEPT_ALIVE })
}

fn up_to(milliseconds: u64, input: &mut Unstructured<'_>) -> Result<Duration> {
    input.int_in_range(0..=milliseconds).map(Duration::from_millis)
}

fn flip(input: &mut Unstructured<'_>) -> Result<bool> {
    input.arbitrary()
}
