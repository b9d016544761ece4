//! What a query knows of a call: the model at bind, the types of its arguments at the first chunk.
//!
//! Nothing is refused at bind. DuckDB 1.5.6 binds the body of a macro when that is created, with parameters left out, and
//! an error there would make CREATE MACRO fail; and reading an argument there fails for scalar subqueries.

use super::columns::Reading;
use super::handle::{taken, LogicalType};
use super::leading::Leading;
use super::session;
use super::shapes::{Shape, Wanted as Columns};
use super::types::{Source, Wanted};
use crate::cache::{self, short, Claim};
use crate::model::{Engine, Model};
use crate::program::{Input, Kind, Plan};
use libduckdb_sys as ffi;
use std::sync::{Arc, OnceLock};

/// A scoring function: what it answers with, and what stands before the columns.
#[derive(Clone, Copy)]
pub struct Function {
    pub shape: Shape,
    pub leading: Leading,
}

impl Function {
    pub fn name(self) -> String {
        self.leading.named(&self.shape.name())
    }
}

/// Shared by all threads of a query, and by all executions of a prepared one.
pub struct Bound {
    pub shape: Shape,
    pub leading: Leading,
    key: Result<String, String>,
    types: Result<Option<String>, String>,
    claim: Arc<Claim>,
    ready: OnceLock<Result<Ready, String>>,
}

/// How this query scores: settled at its first chunk.
pub struct Ready {
    pub model: Arc<Model>,
    pub readings: Vec<Reading>,
    pub how: How,
}

pub enum How {
    Native { plan: Plan, columns: Columns },
    Onnxruntime(session::Wanted),
}

impl Bound {
    /// # Safety
    /// Called in a bind callback, with its own `info`.
    pub unsafe fn new(info: ffi::duckdb_bind_info, function: Function) -> Bound {
        let Function { shape, leading } = function;
        // SAFETY: by this function's contract.
        let (key, types) = unsafe { leading.told(info) };
        let claim = key
            .as_ref()
            .map_or_else(|_| Arc::default(), |key| cache::claim(key));
        Bound {
            shape,
            leading,
            key,
            types,
            claim,
            ready: OnceLock::new(),
        }
    }

    /// # Safety
    /// `chunk` holds the arguments of this call, at least one row of them.
    pub unsafe fn ready(&self, chunk: ffi::duckdb_data_chunk) -> Result<&Ready, String> {
        let ready = match self.ready.get() {
            Some(ready) => ready,
            None => {
                let key = self.key.as_ref().map_err(Clone::clone)?;
                let types = self.types.as_ref().map_err(Clone::clone)?;
                // That it is not loaded is not kept: a prepared statement may be executed again when it is.
                // SAFETY: by this function's contract.
                let model = unsafe { self.model(key, chunk)? };
                self.ready
                    // SAFETY: by this function's contract.
                    .get_or_init(|| unsafe { self.prepare(key, types.as_deref(), model, chunk) })
            }
        };
        ready.as_ref().map_err(Clone::clone)
    }

    /// # Safety
    /// As `ready`.
    unsafe fn prepare(
        &self,
        key: &str,
        types: Option<&str>,
        model: Arc<Model>,
        chunk: ffi::duckdb_data_chunk,
    ) -> Result<Ready, String> {
        let leading = self.leading.count();
        // SAFETY: the arguments are those of the registered function: what `Leading` says, then the columns.
        unsafe {
            let Some(how) = self.how(&model) else {
                let why = format!(
                    "has the outputs {}, which {} does not fit",
                    model.outputs(),
                    self.shape.name()
                );
                return Err(told(key, &why));
            };
            let count =
                (ffi::duckdb_data_chunk_get_column_count(chunk) as usize).saturating_sub(leading);
            let inputs = model.inputs();
            if count != inputs.len() {
                let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                let why = format!(
                    "takes {} columns ({}), got {count}",
                    inputs.len(),
                    names.join(", ")
                );
                return Err(told(key, &why));
            }
            let letters = types.map(str::as_bytes);
            let wanted = wanted(inputs, letters).map_err(|why| told(key, &why))?;
            let mut readings = Vec::with_capacity(count);
            for (index, (input, wanted)) in inputs.iter().zip(wanted).enumerate() {
                let vector =
                    ffi::duckdb_data_chunk_get_vector(chunk, (leading + index) as ffi::idx_t);
                let logical = LogicalType::of_vector(vector);
                let Some(source) = Source::of(&logical) else {
                    let why = format!(
                        "cannot read column \"{}\" from {}: CAST it to {}",
                        input.name,
                        type_name(&logical),
                        wanted.name()
                    );
                    return Err(told(key, &why));
                };
                readings.push(Reading::new(source, wanted, input.kind, model.codes(index)));
            }
            Ok(Ready {
                model,
                readings,
                how,
            })
        }
    }

    fn how(&self, model: &Model) -> Option<How> {
        match model.engine() {
            Engine::Native(program) => {
                let columns = self.shape.wanted(program)?;
                Some(How::Native {
                    plan: program.plan(&columns.operands()),
                    columns,
                })
            }
            Engine::Onnxruntime(session, _) => {
                session::wanted(self.shape, session).map(How::Onnxruntime)
            }
        }
    }

    /// What bind found, or what was loaded since, or what the bytes in the call are.
    ///
    /// # Safety
    /// As `ready`.
    unsafe fn model(&self, key: &str, chunk: ffi::duckdb_data_chunk) -> Result<Arc<Model>, String> {
        if let Some(model) = self.claim.model() {
            return Ok(model.clone());
        }
        // SAFETY: by this function's contract.
        let given = unsafe { self.leading.bytes(chunk) };
        // Empty is none too: DuckDB hands over a constant faster than a NULL.
        let Some(bytes) = given.filter(|bytes| !bytes.is_empty()) else {
            return Err(told(key, "is not loaded. If its database is attached, load its models first: FROM <alias>.<deployment>.load"));
        };
        let model = cache::load(key, bytes)
            .map_err(|error| told(key, &format!("cannot be used: {error}")))?;
        self.claim.fill(model.clone());
        Ok(model)
    }
}

fn told(key: &str, what: &str) -> String {
    format!("sqlml: model {} {what}", short(key))
}

/// What each column is to be read as: by the letters, or by what the graph itself takes.
fn wanted(inputs: &[Input], letters: Option<&[u8]>) -> Result<Vec<Wanted>, String> {
    let Some(letters) = letters else {
        return Ok(inputs.iter().map(|input| natural(input.kind)).collect());
    };
    if letters.len() != inputs.len() {
        return Err(format!(
            "has {} columns, and the types '{}' are {}",
            inputs.len(),
            String::from_utf8_lossy(letters),
            letters.len()
        ));
    }
    let one = |(input, letter): (&Input, &u8)| match Wanted::of_letter(*letter) {
        Some(wanted) if (wanted == Wanted::Text) == (input.kind == Kind::Code) => Ok(wanted),
        Some(wanted) => Err(format!(
            "takes {} in column \"{}\", not {}",
            natural(input.kind).name(),
            input.name,
            wanted.name()
        )),
        None => Err(format!(
            "has no type '{}' (D, F, B, I, L or T) for column \"{}\"",
            char::from(*letter),
            input.name
        )),
    };
    inputs.iter().zip(letters).map(one).collect()
}

fn natural(kind: Kind) -> Wanted {
    match kind {
        Kind::F64 => Wanted::Double,
        Kind::F32 => Wanted::Float,
        Kind::I64 => Wanted::Bigint,
        Kind::Bool => Wanted::Boolean,
        Kind::Code => Wanted::Text,
    }
}

/// For the message; the C API has no name for a type.
fn type_name(logical: &LogicalType) -> String {
    // SAFETY: the type lives; the alias belongs to the caller.
    if let Some(alias) = unsafe { taken(ffi::duckdb_logical_type_get_alias(logical.raw())) } {
        return alias;
    }
    match logical.id() {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB => "a BLOB",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL => "an INTERVAL",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_LIST => "a list",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_ARRAY => "an ARRAY",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_STRUCT => "a STRUCT",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_MAP => "a MAP",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UNION => "a UNION",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIT => "a BIT",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME_TZ => "a TIME WITH TIME ZONE",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ => "a TIMESTAMP WITH TIME ZONE",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME_NS => "a TIME_NS",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGNUM => "a BIGNUM",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_GEOMETRY => "a GEOMETRY",
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARIANT => "a VARIANT",
        _ => "a value of this type",
    }
    .to_owned()
}
