//! Makes a program: what lowering calls.

use super::fuse::fuse;
use super::lookup::lookup;
use super::order;
use super::{Input, Kernel, Kind, Operand, Output, Program, Scalar, Slot, Table, Texts, OTHER};
use crate::error::{unsupported, Error, Result};
use crate::kernels::elementwise::{self, Op};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Memory that lowering may use for columns and tables: this many times the file, and this much on top.
const BUDGET: usize = 16;
const BUDGET_BASE: usize = 64 << 20;
/// What a column costs while a program is built: its slot, its step and their bookkeeping.
const COLUMN: usize = 256;
const ENTRY: usize = 64;

pub struct Builder {
    kinds: Vec<Kind>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    steps: Vec<Box<dyn Kernel>>,
    /// Columns that are a function of one text input and not computed unless a step reads them.
    tables: HashMap<Slot, (Slot, Table)>,
    same: HashMap<Step, Operand>,
    /// What each cast was made of: trees compare what was before it.
    casts: HashMap<Slot, Operand>,
    /// What each absolute value is of.
    pub(super) sizes: HashMap<Slot, Operand>,
    texts: Texts,
    opsets: HashMap<String, i64>,
    budget: usize,
}

/// What makes two elementwise steps the same.
#[derive(PartialEq, Eq, Hash)]
struct Step(Op, Vec<Key>);

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Slot(Slot),
    Constant(Kind, u64),
}

impl Step {
    fn new(op: Op, operands: &[Operand]) -> Step {
        let keys = operands.iter().map(|operand| match operand {
            Operand::Slot(slot) => Key::Slot(*slot),
            Operand::Constant(value) => Key::Constant(value.bits().0, value.bits().1),
        });
        Step(op, keys.collect())
    }
}

impl Builder {
    /// `bytes`: the size of the model's file, which bounds what it may turn into.
    pub fn new(opsets: HashMap<String, i64>, bytes: usize) -> Builder {
        Builder {
            kinds: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: Vec::new(),
            tables: HashMap::new(),
            same: HashMap::new(),
            casts: HashMap::new(),
            sizes: HashMap::new(),
            texts: Texts::default(),
            opsets,
            budget: bytes.saturating_mul(BUDGET).saturating_add(BUDGET_BASE),
        }
    }

    /// For a program inside this one, from the same budget.
    pub fn inner(&self) -> Builder {
        let mut inner = Builder::new(self.opsets.clone(), 0);
        inner.budget = self.budget;
        inner
    }

    /// What the inner program's builder used is used here.
    pub fn settle(&mut self, inner: &Builder) {
        self.budget = inner.budget;
    }

    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Version of a domain's operators.
    pub fn opset(&self, domain: &str) -> i64 {
        self.opsets.get(domain).copied().unwrap_or_default()
    }

    /// Accounts for memory that grows faster than the file.
    pub fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => unsupported("it would take far more memory than its file"),
        }
    }

    /// A new column's place.
    pub fn slot(&mut self, kind: Kind) -> Result<Slot> {
        self.spend(COLUMN)?;
        let slot = u32::try_from(self.kinds.len())
            .map_err(|_| Error::Unsupported("too many columns".into()))?;
        self.kinds.push(kind);
        Ok(Slot(slot))
    }

    pub fn kind(&self, operand: Operand) -> Kind {
        match operand {
            Operand::Constant(value) => value.kind(),
            Operand::Slot(slot) => self.kinds[slot.index()],
        }
    }

    /// A step; its output slots come from `slot`.
    pub fn push(&mut self, kernel: impl Kernel + 'static) {
        self.steps.push(Box::new(kernel));
    }

    pub fn push_boxed(&mut self, kernel: Box<dyn Kernel>) {
        self.steps.push(kernel);
    }

    /// All inputs come before anything else: their slots are the first ones.
    pub fn input(&mut self, name: String, kind: Kind) -> Result<()> {
        self.slot(kind)?;
        self.inputs.push(Input {
            name,
            kind,
            texts: Vec::new(),
        });
        Ok(())
    }

    /// The operand of an input, once all inputs are there.
    pub fn input_operand(&mut self, index: usize) -> Result<Operand> {
        let slot = Slot(index as u32);
        match self.inputs.get(index).map(|input| input.kind) {
            Some(Kind::Code) => self.table_operand(slot, Table::identity()),
            Some(_) => Ok(Operand::Slot(slot)),
            None => unsupported("an input that is not there"),
        }
    }

    pub fn output(&mut self, name: String, kind: Kind, columns: Vec<Operand>) {
        self.outputs.push(Output {
            name,
            kind,
            columns,
        });
    }

    /// A text's code in this model.
    pub fn text(&mut self, text: &[u8]) -> Result<Scalar> {
        let code = self.texts.code(text);
        self.spend(ENTRY)?;
        Ok(Scalar::Code(code))
    }

    pub fn text_of(&self, code: u32) -> &[u8] {
        self.texts.text(code).unwrap_or_default()
    }

    /// If the column is a function of one text input: that input and the function.
    pub fn table(&self, operand: Operand) -> Option<(Slot, &Table)> {
        match operand {
            Operand::Slot(slot) => self.tables.get(&slot).map(|(input, table)| (*input, table)),
            Operand::Constant(_) => None,
        }
    }

    /// A function of the text input as a column.
    pub fn table_operand(&mut self, input: Slot, table: Table) -> Result<Operand> {
        if table.default != Scalar::Code(OTHER)
            && table
                .entries
                .values()
                .all(|v| v.bits() == table.default.bits())
        {
            return Ok(Operand::Constant(table.default));
        }
        self.spend(table.entries.len().saturating_mul(ENTRY))?;
        let slot = self.slot(table.kind())?;
        self.tables.insert(slot, (input, table));
        Ok(Operand::Slot(slot))
    }

    /// If the column is a cast of another: that one.
    pub fn before_cast(&self, operand: Operand) -> Option<Operand> {
        match operand {
            Operand::Slot(slot) => self.casts.get(&slot).copied(),
            Operand::Constant(_) => None,
        }
    }

    /// Looks the codes of a text column up in a table over this model's codes.
    pub fn look_up(&mut self, operand: Operand, table: &Table) -> Result<Operand> {
        if let Operand::Constant(Scalar::Code(code)) = operand {
            return Ok(Operand::Constant(table.value(code)));
        }
        if let Some((input, first)) = self.table(operand) {
            let keys: BTreeSet<u32> = first
                .entries
                .keys()
                .chain(table.entries.keys())
                .copied()
                .collect();
            let default = match first.default {
                Scalar::Code(code) => table.value(code),
                _ => return unsupported("a number where a text belongs"),
            };
            let value = |code: &u32| match first.value(*code) {
                Scalar::Code(code) => table.value(code),
                other => other,
            };
            let entries = keys.iter().map(|code| (*code, value(code))).collect();
            return self.table_operand(input, Table { default, entries });
        }
        let Operand::Slot(from) = operand else {
            return unsupported("a number where a text belongs");
        };
        if self.kind(operand) != Kind::Code {
            return unsupported("a number where a text belongs");
        }
        let slot = self.slot(table.kind())?;
        let all: Vec<u32> = (1..=self.texts.all().len() as u32).collect();
        self.spend(all.len().saturating_mul(8))?;
        self.steps.push(lookup(from, slot, table, &all));
        Ok(Operand::Slot(slot))
    }

    /// One elementwise operator: folded if constant, a table if it depends on one text column only, else one step.
    pub fn elementwise(&mut self, op: Op, operands: &[Operand]) -> Result<Operand> {
        let kinds: Vec<Kind> = operands.iter().map(|operand| self.kind(*operand)).collect();
        let kind = elementwise::result(op, &kinds)?;
        if let Some(values) = constants(operands) {
            return Ok(Operand::Constant(elementwise::evaluate(op, &values)?));
        }
        if let Some(simpler) = self.simpler(op, operands)? {
            return Ok(simpler);
        }
        let step = Step::new(op, operands);
        if let Some(known) = self.same.get(&step) {
            return Ok(*known);
        }
        let made = match self.of_one_text(operands) {
            Some(input) => self.fold(op, input, operands)?,
            None => {
                let unknown = |operand: &Operand| matches!(operand, Operand::Slot(_));
                if kinds == [Kind::Code, Kind::Code] && operands.iter().all(unknown) {
                    return unsupported("a comparison of two text columns");
                }
                let slot = self.slot(kind)?;
                match (op, operands) {
                    (Op::Cast(_), [from]) => self.casts.insert(slot, *from),
                    (Op::Abs, [of]) => self.sizes.insert(slot, *of),
                    _ => None,
                };
                self.steps
                    .push(elementwise::kernel(op, operands, slot, kind));
                Operand::Slot(slot)
            }
        };
        self.same.insert(step, made);
        Ok(made)
    }

    /// The text input that all operands but the constants depend on, and on nothing else.
    fn of_one_text(&self, operands: &[Operand]) -> Option<Slot> {
        let mut found = None;
        for operand in operands {
            if let Operand::Constant(_) = operand {
                continue;
            }
            let (input, _) = self.table(*operand)?;
            if *found.get_or_insert(input) != input {
                return None;
            }
        }
        found
    }

    fn fold(&mut self, op: Op, input: Slot, operands: &[Operand]) -> Result<Operand> {
        let mut keys = BTreeSet::new();
        for operand in operands {
            match operand {
                // The text that is compared with is one on which the answer differs.
                Operand::Constant(Scalar::Code(code)) if *code != OTHER => {
                    keys.insert(*code);
                }
                _ => keys.extend(
                    self.table(*operand)
                        .iter()
                        .flat_map(|(_, table)| table.entries.keys().copied()),
                ),
            }
        }
        let at = |code: u32| -> Result<Scalar> {
            let value = |operand: &Operand| match operand {
                Operand::Constant(value) => *value,
                Operand::Slot(_) => self
                    .table(*operand)
                    .map_or(Scalar::Code(OTHER), |(_, table)| table.value(code)),
            };
            elementwise::evaluate(op, &operands.iter().map(value).collect::<Vec<_>>())
        };
        let default = at(OTHER)?;
        let entries = keys
            .into_iter()
            .map(|code| Ok((code, at(code)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        self.table_operand(input, Table { default, entries })
    }

    /// The program: steps that no output needs are gone, tables that a step reads are steps.
    pub fn finish(mut self) -> Program {
        let mut needed: Vec<bool> = vec![false; self.kinds.len()];
        let mark = |operands: &[Operand], needed: &mut Vec<bool>| {
            for operand in operands {
                if let Operand::Slot(slot) = operand {
                    needed[slot.index()] = true;
                }
            }
        };
        for output in &self.outputs {
            mark(&output.columns, &mut needed);
        }
        let mut kept = Vec::new();
        for step in std::mem::take(&mut self.steps).into_iter().rev() {
            if step.outputs().iter().any(|(slot, _)| needed[slot.index()]) {
                mark(step.inputs(), &mut needed);
                kept.push(step);
            }
        }
        let mut tables: Vec<_> = self
            .tables
            .drain()
            .filter(|(slot, _)| needed[slot.index()])
            .collect();
        tables.sort_by_key(|(slot, _)| *slot);
        let codes = self.own_codes(&tables);
        for (slot, (input, table)) in &tables {
            let codes = codes.get(input).map_or(&[][..], Vec::as_slice);
            kept.push(lookup(*input, *slot, table, codes));
        }
        let wanted: Vec<Operand> = self
            .outputs
            .iter()
            .flat_map(|output| output.columns.iter().copied())
            .collect();
        let steps = order::depth_first(kept, &wanted, self.kinds.len());
        let steps = fuse(steps, &wanted, self.kinds.len());
        Program {
            inputs: self.inputs,
            outputs: self.outputs,
            steps,
            slots: self.kinds.len(),
            texts: self.texts,
        }
    }

    /// Gives each text input codes of its own for the texts that matter for it: small tables, whatever else the model knows.
    fn own_codes(&mut self, tables: &[(Slot, (Slot, Table))]) -> HashMap<Slot, Vec<u32>> {
        let mut keys: HashMap<Slot, BTreeSet<u32>> = HashMap::new();
        for (_, (input, table)) in tables {
            let known = keys.entry(*input).or_default();
            if table.default == Scalar::Code(OTHER) {
                known.extend(1..=self.texts.all().len() as u32);
            } else {
                known.extend(table.entries.keys());
            }
        }
        let mut codes = HashMap::new();
        for (slot, known) in keys {
            let known: Vec<u32> = known.into_iter().collect();
            if let Some(input) = self.inputs.get_mut(slot.index()) {
                let text = |code: &u32| self.texts.text(*code).unwrap_or_default().to_vec();
                input.texts = known.iter().map(text).collect();
            }
            codes.insert(slot, known);
        }
        codes
    }
}

fn constants(operands: &[Operand]) -> Option<Vec<Scalar>> {
    let value = |operand: &Operand| match operand {
        Operand::Constant(value) => Some(*value),
        Operand::Slot(_) => None,
    };
    operands.iter().map(value).collect()
}
