//! Reads a C header, as far as ours goes, and the list of forwarders.

/// A function, with its types as Rust writes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarder {
    /// Its name.
    pub name: String,
    /// Names and types of its arguments.
    pub arguments: Vec<(String, String)>,
    /// What it returns.
    pub result: String,
}

/// What a header declares.
#[derive(Default)]
pub struct Header {
    /// Names of numeric macros and of the constants of enumerations.
    pub constants: Vec<String>,
    /// Structures with their members.
    pub structures: Vec<(String, Vec<String>)>,
    /// Functions.
    pub prototypes: Vec<Forwarder>,
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("/*") {
        out.push_str(before);
        out.push(' ');
        rest = behind.split_once("*/").map_or("", |(_, behind)| behind);
    }
    out + rest
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    for part in name.split('_') {
        let (first, rest) = part.split_at(part.len().min(1));
        out += &first.to_uppercase();
        out += rest;
    }
    out
}

/// A type of C in Rust's words.
fn rust_type(c: &str) -> String {
    let c = words(&c.replace('*', " * "));
    if let Some(pointee) = c.strip_suffix(" *") {
        return match pointee.strip_prefix("const ") {
            Some(constant) => format!("*const {}", rust_pointee(constant)),
            None => format!("*mut {}", rust_pointee(pointee)),
        };
    }
    match c.as_str() {
        "sigplane_handler"
        | "sigplane_immediate_handler"
        | "sigplane_fault_handler"
        | "sigplane_fatal_hook"
        | "sigplane_call"
        | "sigplane_destructor" => {
            format!("Option<{}>", camel(&c["sigplane_".len()..]))
        }
        "void" => "()".into(),
        other => rust_pointee(other),
    }
}

fn rust_pointee(c: &str) -> String {
    let name = match c {
        "int" => "c_int",
        "long" => "c_long",
        "char" => "c_char",
        "void" => "c_void",
        "unsigned long" | "size_t" => "usize",
        "ptrdiff_t" => "isize",
        "uint8_t" => "u8",
        "uint16_t" => "u16",
        "uint32_t" => "u32",
        "uint64_t" => "u64",
        "int64_t" => "i64",
        ours if ours.starts_with("sigplane_") => return camel(&ours["sigplane_".len()..]),
        other => panic!("a type that is not foreseen: {other:?}"),
    };
    name.into()
}

/// Splits a declaration into its type and its name.
fn declaration(text: &str) -> (String, String) {
    let text = words(text);
    let at = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    let (kind, name) = text.split_at(at);
    (rust_type(kind.trim()), name.to_owned())
}

fn prototype(text: &str) -> Forwarder {
    let (front, arguments) = text.split_once('(').expect("a function");
    let arguments = arguments.trim().trim_end_matches(')');
    let (result, name) = declaration(front);
    let arguments = if words(arguments) == "void" {
        Vec::new()
    } else {
        let pair = |text| {
            let (kind, name) = declaration(text);
            (name, kind)
        };
        arguments.split(',').map(pair).collect()
    };
    Forwarder { name, arguments, result }
}

fn members(body: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.split('[').next().unwrap_or_default().trim();
        text.rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let declarations = body.split(';').filter(|text| !text.trim().is_empty());
    declarations.flat_map(|text| text.split(',').map(name).collect::<Vec<_>>()).collect()
}

impl Header {
    /// Reads one.
    pub fn parse(text: &str) -> Self {
        let text = without_comments(text);
        let mut header = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("#define ") else { continue };
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            let value = value.trim();
            let number =
                value.starts_with(|c: char| c.is_ascii_digit()) || value.starts_with("UINT64_C(0x");
            if number && !name.contains('(') {
                header.constants.push(name.to_owned());
            }
        }
        for part in text.split("enum ").skip(1) {
            let Some((_, body)) = part.split_once('{') else { continue };
            let body = body.split('}').next().unwrap_or_default();
            let name = |entry: &str| entry.split('=').next().unwrap_or_default().trim().to_owned();
            header.constants.extend(body.split(',').map(name).filter(|name| !name.is_empty()));
        }
        for part in text.split("struct ").skip(1) {
            let Some((name, body)) = part.split_once('{') else { continue };
            let name = name.trim();
            if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                let body = body.split('}').next().unwrap_or_default();
                header.structures.push((name.to_owned(), members(body)));
            }
        }
        let declared =
            text.split("SIGPLANE_API ").skip(1).filter(|part| !part.starts_with("extern"));
        header.prototypes = declared
            .filter_map(|part| part.split_once(';'))
            .map(|(text, _)| prototype(text))
            .collect();
        header
    }
}

/// Reads the list in `compat/shim/src/capi.rs`.
pub fn forwarders(source: &str) -> Vec<Forwarder> {
    let (_, list) = source.split_once("\nforward! {").expect("the list");
    let one = |text: &str| {
        let text = words(text);
        let text = text.strip_prefix("fn ")?;
        let (name, rest) = text.split_once('(')?;
        let (arguments, rest) = rest.split_once(") -> ")?;
        let (result, _) = rest.split_once(" = ")?;
        let arguments = arguments.trim().trim_end_matches(',');
        let arguments = arguments.split(',').filter(|text| !text.trim().is_empty()).map(|text| {
            let (name, kind) = text.split_once(':').expect("a name and a type");
            (name.trim().to_owned(), kind.trim().to_owned())
        });
        let (name, result) = (name.to_owned(), result.to_owned());
        Some(Forwarder { name, arguments: arguments.collect(), result })
    };
    list.split(';').filter_map(one).collect()
}
