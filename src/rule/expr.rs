//! Expressions of rules: parsed and type-checked when they load, evaluated with three outcomes.
//! The only file that names the CEL engine.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use cel_core::{
    Activation, Ast, BinaryOp, CelType, CheckResult, CompileError, Env, EvalError, Expr as Node, FunctionDecl, MapKey,
    MessageValue, OverloadDecl, Program, ProtoRegistry, ProtoTypeResolver, ResolvedProtoType, SpannedExpr,
    StructFieldValue, Value as Cel,
};

use super::file::{Parameter, Rule};
use super::functions::{Function, Ty};
use super::value::{Handle, Root, Step, Value};
use crate::cluster::Cluster;
use crate::shape::{Schema, Str, Type, View};
use crate::snapshot::Missing;

/// A mistake in an expression: what, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub struct ExprError {
    pub message: String,
    pub span: Range<usize>,
    pub help: Option<String>,
}

/// A checked expression.
pub struct Expr {
    program: Program,
    /// Its type, as people read it (`bool`, `list(Subnet)`).
    pub ty: String,
    /// Reads of the functions that it calls.
    pub reads: BTreeSet<&'static str>,
    /// For a path that ends in a scalar field: the object and the field.
    last_field: Option<(Box<Expr>, String)>,
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.ast().source())
    }
}

/// The schemas and functions that expressions may use.
pub struct Language {
    env: Env,
    shapes: Arc<Shapes>,
    program: Box<dyn Fn(Arc<Ast>) -> Program + Send + Sync>,
    reads: HashMap<String, &'static [&'static str]>,
}

/// The shapes by name, as the engine's type registry.
#[derive(Debug)]
struct Shapes(BTreeMap<&'static str, &'static Schema>);

fn cel_type(ty: &Type) -> CelType {
    match ty {
        Type::Bool => CelType::Bool,
        Type::Int => CelType::Int,
        Type::Double => CelType::Double,
        Type::String => CelType::String,
        Type::List(of) => CelType::list(cel_type(of)),
        Type::Map(of) => CelType::map(CelType::String, cel_type(of)),
        Type::Object(schema) => CelType::message(schema().name),
        Type::Any => CelType::Dyn,
    }
}

fn cel_ty(ty: &Ty) -> CelType {
    match ty {
        Ty::Bool => CelType::Bool,
        Ty::Int => CelType::Int,
        Ty::Str => CelType::String,
        Ty::List(of) => CelType::list(cel_ty(of)),
        Ty::Object(name) => CelType::message(name),
    }
}

impl ProtoTypeResolver for Shapes {
    fn get_field_type(&self, message: &str, field: &str) -> Option<CelType> {
        let schema = self.0.get(message)?;
        schema.fields.iter().find(|(name, _)| *name == field).map(|(_, ty)| cel_type(ty))
    }
    fn has_message(&self, message: &str) -> bool {
        self.0.contains_key(message)
    }
    fn is_extension(&self, _: &str, _: &str) -> bool {
        false
    }
    fn get_enum_value(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
    fn resolve_qualified(&self, _: &[&str], _: &str) -> Option<ResolvedProtoType> {
        None
    }
    fn resolve_message_name(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn message_field_names(&self, message: &str) -> Option<Vec<String>> {
        Some(self.0.get(message)?.fields.iter().map(|(name, _)| (*name).to_owned()).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ProtoRegistry for Shapes {
    fn construct_message(&self, _: &str, _: &[StructFieldValue], _: bool) -> Cel {
        Cel::error(EvalError::internal("rules cannot make objects"))
    }
    fn message_field_access(&self, msg: &dyn MessageValue, field: &str, _: bool, _: bool) -> Cel {
        if let Some(field) = field.strip_prefix(PRESENCE) {
            return self.message_has_field(msg, field);
        }
        let Some(handle) = msg.as_any().downcast_ref::<Handle>() else {
            return Cel::error(EvalError::field_not_found(field));
        };
        let Some(shape) = handle.shape() else { return Cel::error(EvalError::field_not_found(field)) };
        let Some((name, ty)) = shape.schema().fields.iter().find(|(name, _)| *name == field) else {
            return Cel::error(EvalError::field_not_found(field));
        };
        match shape.field(name) {
            None | Some(View::Null) => match ty {
                Type::Any => Cel::Null,
                _ => missing(&Missing {
                    read: handle.row().map_or("derived", |r| r.table.info().read).to_owned(),
                    reason: format!("the answer has no {}.{name}", shape.schema().name),
                }),
            },
            Some(view) => lift(handle, view, &[Step::Field(name)]),
        }
    }
    fn message_has_field(&self, msg: &dyn MessageValue, field: &str) -> Cel {
        let view = msg.as_any().downcast_ref::<Handle>().and_then(Handle::shape).and_then(|s| s.field(field));
        if let Some(View::Missing(what)) = view {
            return missing(what);
        }
        Cel::Bool(match view {
            None | Some(View::Null) => false,
            Some(View::List(l)) => !l.is_empty(),
            Some(View::Map(m)) => !m.keys().is_empty(),
            Some(_) => true,
        })
    }
    fn get_extension_value(&self, _: &dyn MessageValue, _: &str, _: bool, _: bool) -> Option<Cel> {
        None
    }
    fn has_extension(&self, _: &dyn MessageValue, _: &str) -> Option<bool> {
        None
    }
}

impl MessageValue for Handle {
    fn type_name(&self) -> &str {
        self.shape().map_or("unknown", |s| s.schema().name)
    }
    fn eq_message(&self, other: &dyn MessageValue) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Handle>() else { return false };
        match (&self.root, &other.root) {
            (Root::Row(a), Root::Row(b)) if self.path.is_empty() && other.path.is_empty() => a == b,
            _ => match (self.shape(), other.shape()) {
                (Some(a), Some(b)) => a.eq_shape(b),
                _ => false,
            },
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn clone_boxed(&self) -> Box<dyn MessageValue> {
        Box::new(self.clone())
    }
}

/// The separator of the parts of a [`Missing`] in the engine's error text.
const SEPARATOR: char = '\u{1f}';

fn missing(missing: &Missing) -> Cel {
    Cel::error(EvalError::internal(format!("{}{SEPARATOR}{}", missing.read, missing.reason)))
}

fn lift(handle: &Handle, view: View<'_>, steps: &[Step]) -> Cel {
    let deeper = |step: Step| {
        let mut all = steps.to_vec();
        all.push(step);
        all
    };
    match view {
        View::Null => Cel::Null,
        View::Missing(what) => missing(what),
        View::Bool(v) => Cel::Bool(v),
        View::Int(v) => Cel::Int(v),
        View::Double(v) => Cel::Double(v),
        View::Str(v) => Cel::String(Arc::from(v)),
        View::List(list) => {
            let items: Vec<Cel> =
                (0..list.len()).map(|i| lift(handle, list.element(i), &deeper(Step::Index(i as u32)))).collect();
            Cel::List(Arc::from(items))
        }
        View::Map(map) => Cel::map(map.keys().into_iter().filter_map(|key| {
            let value = lift(handle, map.entry(key)?, &deeper(Step::Key(Str::new(key))));
            Some((MapKey::String(Arc::from(key)), value))
        })),
        View::Object(_) => {
            let mut inner = handle.clone();
            inner.path.extend_from_slice(steps);
            Cel::Message(Box::new(inner))
        }
        View::Row(row) => Cel::Message(Box::new(Handle::new(handle.cluster.clone(), Root::Row(row)))),
    }
}

fn to_cel(cluster: &Arc<Cluster>, value: Value) -> Cel {
    match value {
        Value::Bool(v) => Cel::Bool(v),
        Value::Int(v) => Cel::Int(v),
        Value::Str(v) => Cel::String(Arc::from(v.as_str())),
        Value::List(items) => Cel::List(items.into_iter().map(|v| to_cel(cluster, v)).collect::<Vec<_>>().into()),
        Value::Row(row) => Cel::Message(Box::new(Handle::new(cluster.clone(), Root::Row(row)))),
        Value::Derived(shape) => Cel::Message(Box::new(Handle::new(cluster.clone(), Root::Derived(shape)))),
        Value::At(spot) => match at(cluster, &spot) {
            Some(handle) => Cel::Message(Box::new(handle)),
            None => Cel::error(EvalError::internal(format!("nothing at {}", spot.pointer))),
        },
    }
}

/// The handle on a spot.
fn at(cluster: &Arc<Cluster>, spot: &crate::snapshot::Spot) -> Option<Handle> {
    let mut handle = Handle::new(cluster.clone(), Root::Row(spot.row));
    let mut view = View::Object(cluster.snapshot.tables.shape(spot.row));
    for part in spot.pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let (step, next) = match view {
            View::Object(o) => {
                let (name, _) = o.schema().fields.iter().find(|(name, _)| *name == part)?;
                (Step::Field(name), o.field(name)?)
            }
            View::List(l) => {
                let i: u32 = part.parse().ok()?;
                (Step::Index(i), l.element(i as usize))
            }
            View::Map(m) => (Step::Key(Str::new(&part)), m.entry(&part)?),
            _ => return None,
        };
        handle.path.push(step);
        view = next;
    }
    Some(handle)
}

fn from_cel(value: &Cel) -> Option<Value> {
    Some(match value {
        Cel::Bool(v) => Value::Bool(*v),
        Cel::Int(v) => Value::Int(*v),
        Cel::String(v) => Value::Str(Str::new(v)),
        Cel::List(items) => Value::List(items.iter().map(from_cel).collect::<Option<_>>()?),
        Cel::Message(m) => {
            let handle = m.as_any().downcast_ref::<Handle>()?;
            match (&handle.root, handle.path.is_empty()) {
                (Root::Row(row), true) => Value::Row(*row),
                (Root::Derived(shape), true) => Value::Derived(shape.clone()),
                _ => Value::At(handle.spot()?),
            }
        }
        _ => return None,
    })
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
            let calls: Arc<HashMap<&'static str, super::functions::Call>> =
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

fn name_of(ty: &CelType) -> String {
    match ty {
        CelType::Message(name) => name.to_string(),
        CelType::List(of) => format!("list({})", name_of(of)),
        CelType::Map(key, of) => format!("map({}, {})", name_of(key), name_of(of)),
        other => other.display_name(),
    }
}

/// The engine lets `1 == "1"` pass, which is always false: refuse it.
fn refuse_mixed_comparisons(ast: &Ast) -> Result<(), ExprError> {
    fn walk(node: &SpannedExpr, types: &dyn Fn(i64) -> Option<CelType>) -> Result<(), ExprError> {
        let each = |nodes: &[&SpannedExpr]| nodes.iter().try_for_each(|n| walk(n, types));
        match &node.node {
            Node::Binary { op, left, right } => {
                if matches!(op, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::In)
                    && let (Some(l), Some(r)) = (types(left.id), types(right.id))
                {
                    let r = match (op, r) {
                        (BinaryOp::In, CelType::List(of)) => (*of).clone(),
                        (BinaryOp::In, CelType::Map(key, _)) => (*key).clone(),
                        (_, r) => r,
                    };
                    let plain = |t: &CelType| {
                        matches!(
                            t,
                            CelType::Bool
                                | CelType::Int
                                | CelType::Double
                                | CelType::String
                                | CelType::Message(_)
                                | CelType::List(_)
                                | CelType::Map(..)
                        )
                    };
                    if plain(&l) && plain(&r) && std::mem::discriminant(&l) != std::mem::discriminant(&r) {
                        return Err(ExprError {
                            message: format!("compares {} with {}, which are never equal", name_of(&l), name_of(&r)),
                            span: node.span.clone(),
                            help: None,
                        });
                    }
                }
                each(&[left, right])
            }
            Node::Unary { expr, .. } | Node::Member { expr, .. } | Node::MemberTestOnly { expr, .. } => {
                walk(expr, types)
            }
            Node::Ternary { cond, then_expr, else_expr } => each(&[cond, then_expr, else_expr]),
            Node::Index { expr, index, .. } => each(&[expr, index]),
            Node::Call { expr, args } => {
                walk(expr, types)?;
                args.iter().try_for_each(|a| walk(a, types))
            }
            Node::List(items) => items.iter().try_for_each(|i| walk(&i.expr, types)),
            Node::Map(entries) => entries.iter().try_for_each(|e| each(&[&e.key, &e.value])),
            Node::Bind { init, body, .. } => each(&[init, body]),
            Node::Comprehension(c) => each(&[&c.iter_range, &c.accu_init, &c.loop_condition, &c.loop_step, &c.result]),
            _ => Ok(()),
        }
    }
    let types = |id: i64| ast.type_info().and_then(|i| i.get_type(id)).cloned();
    walk(ast.expr(), &types)
}

/// Before the name of a field whose presence is asked for: `has(object.field)`.
const PRESENCE: char = '\u{1e}';

/// The engine's `has(f().field)` is false when `f()` cannot be decided: makes it undecided, too. `has(a.b.c)` stays false
/// where there is no `b`.
fn presence_of_the_known(ast: Ast) -> Ast {
    /// What decides whether `object` has `field`; none when the engine does it rightly or nobody knows the type.
    fn presence(id: i64, object: &SpannedExpr, field: &str, types: &CheckResult) -> Option<Node> {
        if !matches!(types.type_map.get(&object.id), Some(CelType::Message(_))) {
            return None;
        }
        let spanned = |node| Box::new(SpannedExpr::new(id, node, object.span.clone()));
        let own = Node::Member { expr: Box::new(object.clone()), field: format!("{PRESENCE}{field}"), optional: false };
        match &object.node {
            Node::Member { expr, field, .. } => match presence(id, expr, field, types) {
                Some(outer) => Some(Node::Binary { op: BinaryOp::And, left: spanned(outer), right: spanned(own) }),
                None => Some(own),
            },
            _ => Some(own),
        }
    }
    fn walk(node: &mut SpannedExpr, types: &CheckResult) {
        match &mut node.node {
            Node::MemberTestOnly { expr, field } => {
                walk(expr, types);
                if let Some(decided) = presence(node.id, expr, field, types) {
                    node.node = decided;
                }
            }
            Node::Binary { left, right, .. } => [left, right].into_iter().for_each(|n| walk(n, types)),
            Node::Unary { expr, .. } | Node::Member { expr, .. } => walk(expr, types),
            Node::Ternary { cond, then_expr, else_expr } => {
                [cond, then_expr, else_expr].into_iter().for_each(|n| walk(n, types));
            }
            Node::Index { expr, index, .. } => [expr, index].into_iter().for_each(|n| walk(n, types)),
            Node::Call { expr, args } => {
                walk(expr, types);
                args.iter_mut().for_each(|a| walk(a, types));
            }
            Node::List(items) => items.iter_mut().for_each(|i| walk(&mut i.expr, types)),
            Node::Map(entries) => entries.iter_mut().for_each(|e| {
                walk(&mut e.key, types);
                walk(&mut e.value, types);
            }),
            Node::Bind { init, body, .. } => [init, body].into_iter().for_each(|n| walk(n, types)),
            Node::Comprehension(c) => {
                [&mut c.iter_range, &mut c.accu_init, &mut c.loop_condition, &mut c.loop_step, &mut c.result]
                    .into_iter()
                    .for_each(|n| walk(n, types));
            }
            _ => {}
        }
    }
    let Some(types) = ast.type_info() else { return ast };
    let mut expr = ast.expr().clone();
    walk(&mut expr, types);
    Ast::new_checked(expr, ast.source(), types.clone())
}

/// The variables of one evaluation.
pub struct Bindings<'a> {
    pub cluster: &'a Arc<Cluster>,
    pub subject_name: &'a str,
    pub subject: Handle,
    parameters: &'a [Parameter],
    /// Named expressions, evaluated when first asked for.
    lets: &'a [(String, Expr)],
    cache: Vec<OnceLock<Cel>>,
}

impl<'a> Bindings<'a> {
    pub fn new(cluster: &'a Arc<Cluster>, rule: &'a Rule, subject: Handle) -> Self {
        let cache = rule.lets.iter().map(|_| OnceLock::new()).collect();
        let Rule { subject: subject_name, parameters, lets, .. } = rule;
        Bindings { cluster, subject_name, subject, parameters, lets, cache }
    }
}

impl Activation for Bindings<'_> {
    fn resolve(&self, name: &str) -> Option<Cel> {
        if name == self.subject_name {
            return Some(Cel::Message(Box::new(self.subject.clone())));
        }
        if name == "cluster" {
            return Some(match self.cluster.row {
                Some(row) => Cel::Message(Box::new(Handle::new(self.cluster.clone(), Root::Row(row)))),
                None => missing(&self.cluster.snapshot.missing("eks:DescribeCluster", None)),
            });
        }
        if let Some(parameter) = self.parameters.iter().find(|p| p.name == name) {
            return Some(to_cel(self.cluster, parameter.value.clone()));
        }
        let i = self.lets.iter().position(|(n, _)| n == name)?;
        if let Some(value) = self.cache[i].get() {
            return Some(value.clone());
        }
        let value = self.lets[i].1.program.eval(self);
        Some(self.cache[i].get_or_init(|| value).clone())
    }
}

/// What came of an evaluation.
pub type Evaluated<T> = Result<T, Missing>;

impl Expr {
    fn eval(&self, bindings: &Bindings<'_>) -> Evaluated<Cel> {
        match self.program.eval(bindings) {
            Cel::Error(error) => Err(match error.message.split_once(SEPARATOR) {
                Some((read, reason)) => Missing { read: read.to_owned(), reason: reason.to_owned() },
                None => Missing { read: "expression".to_owned(), reason: format!("{} in `{:?}`", error.message, self) },
            }),
            value => Ok(value),
        }
    }

    /// As a condition.
    pub fn bool(&self, bindings: &Bindings<'_>) -> Evaluated<bool> {
        Ok(matches!(self.eval(bindings)?, Cel::Bool(true)))
    }

    /// As text: ids of objects, lists with commas.
    pub fn text(&self, bindings: &Bindings<'_>) -> Evaluated<String> {
        Ok(display(&self.eval(bindings)?))
    }

    /// As lines of text, one for each element of a list.
    pub fn texts(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<String>> {
        Ok(match self.eval(bindings)? {
            Cel::List(items) => items.iter().map(display).collect(),
            other => vec![display(&other)],
        })
    }

    /// As objects: one, or a list of them.
    pub fn objects(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<Handle>> {
        fn collect(value: &Cel, into: &mut Vec<Handle>) {
            match value {
                Cel::Message(m) => into.extend(m.as_any().downcast_ref::<Handle>().cloned()),
                Cel::List(items) => items.iter().for_each(|i| collect(i, into)),
                _ => {}
            }
        }
        let mut handles = Vec::new();
        collect(&self.eval(bindings)?, &mut handles);
        Ok(handles)
    }

    /// As places in the snapshot: of the objects, or of the scalar at the end of a path.
    pub fn places(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<crate::snapshot::Spot>> {
        if let Some((object, field)) = &self.last_field {
            // A field of any type may hold an object, which has a place of its own.
            if self.ty == "dyn" {
                let spots: Vec<_> = self.objects(bindings)?.iter().filter_map(Handle::spot).collect();
                if !spots.is_empty() {
                    return Ok(spots);
                }
            }
            let handles = object.objects(bindings)?;
            return Ok(handles
                .iter()
                .filter_map(|h| {
                    let mut spot = h.spot()?;
                    spot.pointer = format!("{}/{field}", spot.pointer);
                    Some(spot)
                })
                .collect());
        }
        Ok(self.objects(bindings)?.iter().filter_map(Handle::spot).collect())
    }
}

fn display(value: &Cel) -> String {
    match value {
        Cel::String(s) => s.to_string(),
        Cel::Int(i) => i.to_string(),
        Cel::UInt(i) => i.to_string(),
        Cel::Double(d) => d.to_string(),
        Cel::Bool(b) => b.to_string(),
        Cel::List(items) => items.iter().map(display).collect::<Vec<_>>().join(", "),
        Cel::Message(m) => match m.as_any().downcast_ref::<Handle>() {
            Some(handle) => match (&handle.root, handle.path.is_empty()) {
                (Root::Row(row), true) => super::value::resource(&handle.cluster.snapshot, *row).id,
                _ => m.type_name().to_owned(),
            },
            None => m.type_name().to_owned(),
        },
        other => format!("{other:?}"),
    }
}
