//! Where the engine takes what it should refuse, or answers what it cannot know.

use cel_core::{Ast, BinaryOp, CelType, CheckResult, Expr as Node, SpannedExpr};

use super::ExprError;

pub(super) fn name_of(ty: &CelType) -> String {
    match ty {
        CelType::Message(name) => name.to_string(),
        CelType::List(of) => format!("list({})", name_of(of)),
        CelType::Map(key, of) => format!("map({}, {})", name_of(key), name_of(of)),
        other => other.display_name(),
    }
}

/// The engine lets `1 == "1"` pass, which is always false: refuse it.
pub(super) fn refuse_mixed_comparisons(ast: &Ast) -> Result<(), ExprError> {
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
pub(super) const PRESENCE: char = '\u{1e}';

/// The engine's `has(f().field)` is false when `f()` cannot be decided: makes it undecided, too. `has(a.b.c)` stays false
/// where there is no `b`.
pub(super) fn presence_of_the_known(ast: Ast) -> Ast {
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
