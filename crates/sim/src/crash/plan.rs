//! Which choices to try, and in which order.
//!
//! Samples come in this order, as far as the budget reaches:
//! 1. nothing, everything, all but the last write (a lost log record), all but the first (a record
//!    without its data);
//! 2. shuffled: each write missing, each alone, each prefix in the order of issue, and each write
//!    torn in several ways, with and without the others;
//! 3. random: subsets of whole and torn writes at several densities, overlapping ones in any order,
//!    and now and then every sector for itself.

use fastrand::Rng;

use super::Budget;
use super::table::{Choice, Table, Winner};

/// Random choices in a row that were seen before: there is nothing new to find.
const DUPLICATES_MAX: u32 = 100;

/// Up to this many pending writes can be counted as a bit mask at all.
const MASK_WRITES_MAX: usize = 32;

/// The choices still to be tried at one cut.
#[derive(Debug)]
pub(super) struct Plan {
    source: Source,
    /// New states still wanted.
    wanted: u64,
    /// Random choices since the last new state.
    duplicates: u32,
}

#[derive(Debug)]
enum Source {
    /// All choices, as a number whose digits are the sectors' options.
    Every { options: Vec<Vec<Winner>>, digits: Option<Vec<usize>> },
    /// These shapes, the last one first; then random ones.
    Sample { shapes: Vec<Shape> },
}

/// A choice in terms of writes.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Nothing,
    Everything,
    AllBut(usize),
    Only(usize),
    /// The writes issued first.
    Prefix(usize),
    /// The writes whose bits are set.
    Mask(u32),
    /// One write torn; the others all there or all missing.
    Torn {
        write: usize,
        part: Part,
        others: bool,
    },
}

/// The sectors of a torn write that are found.
#[derive(Debug, Clone, Copy)]
enum Part {
    First,
    AllButFirst,
    Last,
    AllButLast,
    FirstHalf,
    SecondHalf,
    EverySecond,
}

const PARTS: [Part; 7] = [
    Part::First,
    Part::AllButFirst,
    Part::Last,
    Part::AllButLast,
    Part::FirstHalf,
    Part::SecondHalf,
    Part::EverySecond,
];

impl Part {
    fn keeps(self, number: usize, sectors: usize) -> bool {
        match self {
            Part::First => number == 0,
            Part::AllButFirst => number != 0,
            Part::Last => number + 1 == sectors,
            Part::AllButLast => number + 1 != sectors,
            Part::FirstHalf => number < sectors / 2,
            Part::SecondHalf => number >= sectors / 2,
            Part::EverySecond => number % 2 == 1,
        }
    }
}

impl Plan {
    pub(super) fn new(table: &Table, budget: Budget, random: &mut Rng) -> Self {
        let options = table.options();
        let count =
            options.iter().fold(1_u64, |count, options| count.saturating_mul(options.len() as u64));
        if count <= budget.exhaustive {
            let digits = Some(vec![0; options.len()]);
            return Self {
                source: Source::Every { options, digits },
                wanted: count,
                duplicates: 0,
            };
        }
        let writes = table.writes();
        let subsets = if writes < MASK_WRITES_MAX { 1_u64 << writes } else { u64::MAX };
        let mut shapes = torn_shapes(table);
        let mut wanted = budget.samples;
        if subsets <= budget.exhaustive {
            wanted = wanted.max(subsets);
            random.shuffle(&mut shapes);
            shapes.extend((0..subsets as u32).map(Shape::Mask));
        } else {
            shapes.extend((0..writes).flat_map(|write| {
                [Shape::AllBut(write), Shape::Only(write), Shape::Prefix(write)]
            }));
            random.shuffle(&mut shapes);
        }
        // A part of the budget is left to chance.
        shapes.drain(..shapes.len().saturating_sub((wanted - wanted / 4) as usize));
        shapes.extend([
            Shape::AllBut(0),
            Shape::AllBut(writes - 1),
            Shape::Everything,
            Shape::Nothing,
        ]);
        Self { source: Source::Sample { shapes }, wanted, duplicates: 0 }
    }

    pub(super) fn is_exhaustive(&self) -> bool {
        matches!(self.source, Source::Every { .. })
    }

    /// The last choice made a state that was not known.
    pub(super) fn found_new(&mut self) {
        self.wanted = self.wanted.saturating_sub(1);
        self.duplicates = 0;
    }

    pub(super) fn next(&mut self, table: &Table, random: &mut Rng) -> Option<Choice> {
        match &mut self.source {
            Source::Every { options, digits } => {
                let current = digits.as_mut()?;
                let choice = current.iter().zip(&*options).map(|(digit, of)| of[*digit]).collect();
                if !count_up(current, options) {
                    *digits = None;
                }
                Some(choice)
            }
            Source::Sample { .. } if self.wanted == 0 => None,
            Source::Sample { shapes } => match shapes.pop() {
                Some(shape) => Some(shaped(table, shape)),
                None if self.duplicates == DUPLICATES_MAX => None,
                None => {
                    self.duplicates += 1;
                    Some(random_choice(table, random))
                }
            },
        }
    }
}

/// The next number; false after the last one.
fn count_up(digits: &mut [usize], options: &[Vec<Winner>]) -> bool {
    for (digit, options) in digits.iter_mut().zip(options) {
        *digit += 1;
        if *digit < options.len() {
            return true;
        }
        *digit = 0;
    }
    false
}

fn torn_shapes(table: &Table) -> Vec<Shape> {
    let torn = |write| {
        PARTS.iter().flat_map(move |part| {
            [true, false].map(|others| Shape::Torn { write, part: *part, others })
        })
    };
    (0..table.writes()).filter(|write| table.write_sectors(*write) > 1).flat_map(torn).collect()
}

fn shaped(table: &Table, shape: Shape) -> Choice {
    let mut choice = table.nothing();
    for write in 0..table.writes() {
        let whole = match shape {
            Shape::Nothing => false,
            Shape::Everything => true,
            Shape::AllBut(missing) => write != missing,
            Shape::Only(only) => write == only,
            Shape::Prefix(count) => write < count,
            Shape::Mask(bits) => bits >> write & 1 == 1,
            Shape::Torn { write: torn, part, others } => {
                if write == torn {
                    let sectors = table.write_sectors(write);
                    table.put(&mut choice, write, |number| part.keeps(number, sectors));
                }
                others && write != torn
            }
        };
        if whole {
            table.put(&mut choice, write, |_| true);
        }
    }
    choice
}

fn random_choice(table: &Table, random: &mut Rng) -> Choice {
    let mut choice = table.nothing();
    let mut order: Vec<_> = (0..table.writes()).collect();
    if random.bool() {
        random.shuffle(&mut order);
    }
    let every_sector = random.u8(..8) == 0;
    let density = [0.06, 0.25, 0.5, 0.75, 0.94][random.usize(..5)];
    for write in order {
        if every_sector {
            table.put(&mut choice, write, |_| random.f64() < density);
        } else if random.f64() < density {
            let torn = random.u8(..4) == 0;
            table.put(&mut choice, write, |_| !torn || random.bool());
        }
    }
    choice
}
