//! A model that scores: natively where every operator has a kernel, else in onnxruntime.

use crate::duckdb::text::Codes;
use crate::error::{Error, Result};
use crate::explain;
use crate::lower;
use crate::onnx::Graph;
use crate::onnxruntime::{self, Session};
use crate::program::{Input, Kind, Program};
use std::fmt::Write;
use std::sync::Arc;

pub struct Model {
    engine: Engine,
    inputs: Vec<Input>,
    /// By input; for texts of native models.
    codes: Vec<Option<Arc<Codes>>>,
    size: usize,
    bytes: usize,
}

pub enum Engine {
    Native(Program),
    /// With the reason why it is not native.
    Onnxruntime(Session, String),
}

impl Model {
    pub fn load(bytes: &[u8]) -> Result<Model> {
        let graph = Graph::read(bytes)?;
        match lower::lower(&graph, bytes.len()) {
            Ok(program) => Ok(Model::native(program, bytes.len())),
            Err(Error::Unsupported(what)) => {
                let session = Session::load(bytes)
                    .map_err(|error| Error::Failed(format!("no native kernel: {what}; {error}")))?;
                Ok(Model::in_onnxruntime(session, what, bytes.len()))
            }
            Err(error) => Err(error),
        }
    }

    /// What explains the model instead of scoring: there is no other way than a native one.
    pub fn explaining(bytes: &[u8], request: &str) -> Result<Model> {
        Ok(Model::native(
            explain::program(bytes, request)?,
            bytes.len(),
        ))
    }

    fn native(program: Program, size: usize) -> Model {
        let inputs = program.inputs().to_vec();
        let codes: Vec<_> = inputs
            .iter()
            .map(|input| (input.kind == Kind::Code).then(|| Arc::new(Codes::new(&input.texts))))
            .collect();
        let texts: usize = codes.iter().flatten().map(|codes| codes.bytes()).sum();
        let bytes = program.bytes() + texts;
        Model {
            engine: Engine::Native(program),
            inputs,
            codes,
            size,
            bytes,
        }
    }

    fn in_onnxruntime(session: Session, why: String, size: usize) -> Model {
        let mut inputs = Vec::new();
        for port in session.inputs() {
            let width = port.width().unwrap_or(1);
            let kind = match port.kind {
                onnxruntime::Kind::F32 => Kind::F32,
                onnxruntime::Kind::I32 | onnxruntime::Kind::I64 => Kind::I64,
                onnxruntime::Kind::Bool => Kind::Bool,
                onnxruntime::Kind::Text => Kind::Code,
                onnxruntime::Kind::F64 | onnxruntime::Kind::Other(_) => Kind::F64,
            };
            for column in 0..width {
                let shown = port.shown();
                let name = if width == 1 {
                    shown
                } else {
                    format!("{shown}_{column}")
                };
                inputs.push(Input {
                    name,
                    kind,
                    texts: Vec::new(),
                });
            }
        }
        // What onnxruntime takes is its own; a graph and its copy in another layout are the rule.
        let bytes = size.saturating_mul(2);
        Model {
            engine: Engine::Onnxruntime(session, why),
            codes: vec![None; inputs.len()],
            inputs,
            size,
            bytes,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    pub fn codes(&self, input: usize) -> Option<Arc<Codes>> {
        self.codes.get(input).cloned().flatten()
    }

    /// Bytes of ONNX that it was made from.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Memory that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The outputs and how many columns each has, as text.
    pub fn outputs(&self) -> String {
        let shown: Vec<String> = match &self.engine {
            Engine::Native(program) => program
                .outputs()
                .iter()
                .map(|output| format!("{} ({})", output.name, output.columns.len()))
                .collect(),
            Engine::Onnxruntime(session, _) => session
                .outputs()
                .iter()
                .map(|port| match port.width() {
                    Some(width) => format!("{} ({width})", port.shown()),
                    None => port.shown(),
                })
                .collect(),
        };
        shown.join(", ")
    }

    /// What runs: the kernels, each with how often it is used, or onnxruntime.
    pub fn kernels(&self) -> String {
        let program = match &self.engine {
            Engine::Native(program) => program,
            Engine::Onnxruntime(session, why) => return format!("{}: {why}", session.about()),
        };
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for step in program.steps() {
            match counts.iter_mut().find(|(name, _)| *name == step.name()) {
                Some((_, count)) => *count += 1,
                None => counts.push((step.name(), 1)),
            }
        }
        let shown = counts.iter().map(|(name, count)| match count {
            1 => (*name).to_owned(),
            _ => format!("{count} {name}"),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// What `sqlml_describe` says.
    pub fn describe(&self) -> String {
        let engine = match self.engine {
            Engine::Native(_) => "native: ",
            Engine::Onnxruntime(..) => "",
        };
        let inputs: Vec<&str> = self
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect();
        let mut text = format!("{engine}{}\n", self.kernels());
        // Writing to a String does not fail.
        let _ = writeln!(text, "inputs: {}", inputs.join(", "));
        let _ = writeln!(text, "outputs: {}", self.outputs());
        let _ = writeln!(text, "instruction set: {:?}", crate::isa::Isa::current());
        let _ = write!(
            text,
            "{} bytes of ONNX, {} bytes in memory",
            self.size, self.bytes
        );
        text
    }
}
