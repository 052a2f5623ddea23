//! What expressions may name, and how they are parsed and checked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cel_core::{
    Ast, CelType, CompileError, Env, EvalError, Expr as Node, FunctionDecl, OverloadDecl, Program, ProtoRegistry,
    ProtoTypeResolver, Value as Cel,
};

use super::rewrite::{name_of, presence_of_the_known, refuse_mixed_comparisons};
use super::values::{Shapes, cel_ty, from_cel, missing, to_cel};
use super::{Expr, ExprError};
use crate::rule::functions::{Call, Function, Ty};
use crate::rule::value::Handle;
use crate::shape::{Schema, Type};

/// The schemas and functions that expressions may use.
pub struct Language {
    env: Env,
    shapes: Arc<Shapes>,
    program: Box<dyn Fn(Arc<Ast>) -> Program + Send + Sync>,
    reads: HashMap<String, &'static [&'static str]>,
}

impl Language {
    /// Makes the language of these schemas and functions.
    pub fn new(schemas: impl IntoIterator<Item = &'static Schema>, functions: Vec<Function>) -> Language {
        let mut known = BTreeMap::new();
        let mut open: Vec<&'static Schema> = schemas.into_iter().collect();
        while let Some(schema) = open.pop() {
            if known.insert(schema.name, schema).is_none() {
                open.extend(schema.fields.iter().filter_map(|(_, ty)| inner(ty)));
            }
        }
        fn inner(ty: &Type) -> Option<&'static Schema> {
            match ty {
                Type::Object(schema) => Some(schema()),
                Type::List(of) | Type::Map(of) => inner(of),
                _ => None,
            }
        }
        let shapes = Arc::new(Shapes(known));
        let mut by_name: BTreeMap<&'static str, Vec<Function>> = BTreeMap::new();
        for function in functions {
            by_name.entry(function.name).or_default().push(function);
        }
        let mut reads = HashMap::new();
        let mut env = Env::with_standard_library()
            .with_extension(cel_core::ext::string_extension())
            .with_proto_registry(shapes.clone());
        for (name, functions) in by_name {
            let calls: Arc<HashMap<&'static str, Call>> =
                Arc::new(functions.iter().map(|f| (f.receiver, f.call.clone())).collect());
            let mut decl = FunctionDecl::new(name);
            for function in &functions {
                let id = format!("{}.{name}", function.receiver);
                reads.insert(id.clone(), function.reads);
                let mut params = vec![CelType::message(function.receiver)];
                params.extend(function.arguments.iter().map(|(_, ty)| cel_ty(ty)));
                let calls = calls.clone();
                // The engine chooses an implementation by the number of arguments only: each finds the right
                // one by its receiver.
                decl = decl.with_overload(OverloadDecl::method(id, params, cel_ty(&function.returns)).with_impl(
                    move |args| {
                        let Some(Cel::Message(receiver)) = args.first() else {
                            return Cel::error(EvalError::internal("no receiver"));
                        };
                        let Some(handle) = receiver.as_any().downcast_ref::<Handle>() else {
                            return Cel::error(EvalError::internal("not an object"));
                        };
                        let Some(call) = calls.get(receiver.type_name()) else {
                            return Cel::error(EvalError::unknown_function(receiver.type_name()));
                        };
                        let mut values = Vec::with_capacity(args.len() - 1);
                        for arg in &args[1..] {
                            match from_cel(arg) {
                                Some(value) => values.push(value),
                                None => return Cel::error(EvalError::invalid_argument(format!("{arg:?}"))),
                            }
                        }
                        match call(&handle.cluster, handle, &values) {
                            Ok(value) => to_cel(&handle.cluster, value),
                            Err(lacking) => missing(&lacking),
                        }
                    },
                ));
            }
            env.add_function(decl);
        }
        // Building the table of functions takes longer than most expressions: build it once.
        let registry = env
            .compile("true")
            .and_then(|ast| env.program(&ast))
            .map(|program| Arc::new(program.functions().clone()))
            .unwrap_or_default();
        let types: Arc<dyn ProtoRegistry> = shapes.clone();
        let program = Box::new(move |ast| Program::with_proto_registry(ast, registry.clone(), types.clone()));
        Language { env, shapes, program, reads }
    }

    /// The schema of this name.
    pub fn schema(&self, name: &str) -> Option<&'static Schema> {
        self.shapes.0.get(name).copied()
    }

    /// All schemas, by name.
    pub fn schemas(&self) -> impl Iterator<Item = &'static Schema> {
        self.shapes.0.values().copied()
    }

    /// A scope in which `subject` is an object of the shape `of`, and `cluster` is the cluster.
    pub fn scope<'a>(&'a self, subject: &str, of: &str) -> Scope<'a> {
        let mut env = self.env.clone();
        env.add_variable("cluster", CelType::message("Cluster"));
        env.add_variable(subject, CelType::message(of));
        Scope { language: self, env }
    }
}

/// The variables that an expression may name.
pub struct Scope<'a> {
    language: &'a Language,
    env: Env,
}

impl Scope<'_> {
    /// Adds a variable with the type of `expr`.
    pub fn bind(&mut self, name: &str, expr: &Expr) {
        let ty = expr.program.ast().result_type().cloned().unwrap_or(CelType::Dyn);
        self.env.add_variable(name, ty);
    }

    /// Adds a variable of this type.
    pub fn declare(&mut self, name: &str, ty: &Ty) {
        self.env.add_variable(name, cel_ty(ty));
    }

    /// Parses and checks an expression.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn compile(&self, source: &str) -> Result<Expr, ExprError> {
        let ast = self.env.compile(source).map_err(|error| self.explain(error, source))?;
        refuse_mixed_comparisons(&ast)?;
        let ty = ast.result_type().map(name_of).unwrap_or_else(|| "dyn".to_owned());
        let mut reads = BTreeSet::new();
        if let Some(info) = ast.type_info() {
            for reference in info.reference_map.values() {
                for id in &reference.overload_ids {
                    reads.extend(self.language.reads.get(id).copied().unwrap_or_default());
                }
            }
        }
        let scalar = !ty.starts_with(char::is_uppercase) && !ty.starts_with("list(");
        let last_field = match &ast.expr().node {
            Node::Member { expr, field, .. } if scalar => {
                let inner = &source[expr.span.clone()];
                self.compile(inner).ok().map(|e| (Box::new(e), field.clone()))
            }
            _ => None,
        };
        let program = (self.language.program)(Arc::new(presence_of_the_known(ast)));
        Ok(Expr { program, ty, reads, last_field })
    }

    fn explain(&self, error: CompileError, source: &str) -> ExprError {
        match error {
            CompileError::Parse(errors) => match errors.into_iter().next() {
                Some(e) => ExprError { message: lower(&e.message), span: e.span, help: None },
                None => ExprError { message: "not an expression".to_owned(), span: 0..source.len(), help: None },
            },
            CompileError::NoAst => {
                ExprError { message: "not an expression".to_owned(), span: 0..source.len(), help: None }
            }
            CompileError::Check(errors) => {
                let Some(e) = errors.into_iter().next() else {
                    return ExprError { message: "does not type-check".to_owned(), span: 0..source.len(), help: None };
                };
                let mut names: Vec<String> = Vec::new();
                let mut wanted = String::new();
                match &e.kind {
                    cel_core::CheckErrorKind::UndefinedField { type_name, field } => {
                        wanted.clone_from(field);
                        names.extend(self.language.shapes.message_field_names(type_name).unwrap_or_default());
                        let ty = CelType::message(type_name);
                        names.extend(self.env.methods_for_type(&ty).iter().map(|(n, _)| format!("{n}()")));
                    }
                    cel_core::CheckErrorKind::UndeclaredReference { name, .. } => {
                        wanted.clone_from(name);
                        names.extend(self.env.variables().keys().cloned());
                        names.extend(
                            self.env.functions().keys().filter(|n| !n.contains(['_', '@'])).map(|n| format!("{n}()")),
                        );
                    }
                    _ => {}
                }
                names.sort();
                names.dedup();
                let help = nearest(&wanted, &names).map(|n| format!("did you mean `{n}`?"));
                ExprError { message: e.message(), span: e.span, help }
            }
        }
    }
}

/// The name most like `wanted`, if one is like it at all.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let distance = |a: &str, b: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut before = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let next = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                before = row[j + 1];
                row[j + 1] = next;
            }
        }
        row[b.len()]
    };
    names
        .iter()
        .map(|n| (distance(wanted, n.trim_end_matches("()")), n))
        .min()
        .filter(|(d, _)| *d <= wanted.len() / 3 + 1)
        .map(|(_, n)| n.as_str())
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
