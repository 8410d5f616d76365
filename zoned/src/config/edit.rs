//! Changes to a configuration's text that keep its comments and order.

use std::collections::BTreeMap;
use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value, value};
use zone_api::{Edit, Edited};

use super::load::Source;
use super::schema::{Key, Kind, ZONE, find, unknown};
use super::{Config, ConfigError};

/// The text after `edits`, and the configuration in it.
///
/// # Errors
/// When an edit cannot be made, or the result is not valid.
pub fn apply(text: &str, edits: &[Edit], origin: &str) -> Result<(String, Config), ConfigError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        ConfigError::Edit { what: origin.to_owned(), why: error.message().replace('\n', ", ") }
    })?;
    for edit in edits {
        let made = match edit {
            Edit::Set { key, value } => set(&mut document, key, value),
            Edit::Unset { key } => unset(&mut document, key),
            Edit::Add { resource, properties } => add(&mut document, resource, properties),
            Edit::Remove { resource, properties } => remove(&mut document, resource, properties),
        };
        made.map_err(|why| ConfigError::Edit { what: describe(edit), why })?;
    }
    let text = document.to_string();
    let config = Config::parse(&text, origin)?;
    Ok((text, config))
}

/// The text with `name` as its zone's name; put at the top where it has none.
///
/// # Errors
/// When it is no TOML.
pub fn rename(text: &str, name: &str) -> Result<String, ConfigError> {
    let mut document = Source { text, origin: name }.document()?.into_mut();
    match document.get("name").and_then(Item::as_str) {
        Some(old) if old == name => return Ok(text.to_owned()),
        Some(_) => replace(document.as_table_mut(), "name", name.into()),
        // Whatever else stands there is told by the parser.
        None if document.contains_key("name") => return Ok(text.to_owned()),
        None => return Ok(format!("name = {}\n{text}", Value::from(name))),
    }
    Ok(document.to_string())
}

/// Writes a configuration's file.
///
/// # Errors
/// The file then holds what it held.
pub fn write(path: &Path, text: &str) -> Result<(), ConfigError> {
    crate::state::atomic::write(path, text.as_bytes(), 0o644)
        .map_err(|source| ConfigError::Write { path: path.to_owned(), source })
}

/// The value of one key, as `set` would take it; `None` where nothing is set and nothing is the default.
///
/// # Errors
/// When there is no such key.
pub fn get(config: &Config, key: &str) -> Result<Option<String>, ConfigError> {
    let wrong = |why: String| ConfigError::Edit { what: format!("get {key}"), why };
    lookup(key).map_err(wrong)?;
    let all = toml::Table::try_from(config).map_err(|error| wrong(error.to_string()))?;
    let found = match key.split_once('.') {
        None => all.get(key),
        Some((table, inner)) => all.get(table).and_then(|table| table.get(inner)),
    };
    Ok(found.map(|found| match found {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) if list.iter().all(|one| one.is_str()) => {
            list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }))
}

/// Keys that differ, by whether a running zone takes them on at once.
pub fn changes(before: &Config, after: &Config) -> Edited {
    let table = |config| toml::Table::try_from(config).unwrap_or_default();
    let (before, after) = (table(before), table(after));
    let mut edited = Edited::default();
    for key in ZONE.iter().filter(|key| before.get(key.name) != after.get(key.name)) {
        let list = if key.live { &mut edited.live } else { &mut edited.at_reboot };
        list.push(key.name.to_owned());
    }
    edited
}

fn describe(edit: &Edit) -> String {
    match edit {
        Edit::Set { key, .. } => format!("set {key}"),
        Edit::Unset { key } => format!("unset {key}"),
        Edit::Add { resource, .. } => format!("add {resource}"),
        Edit::Remove { resource, .. } => format!("remove {resource}"),
    }
}

/// The key of a dotted path.
fn lookup(path: &str) -> Result<&'static Key, String> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let key = find(ZONE, first).ok_or_else(|| unknown(ZONE, first))?;
    match (rest, key.kind) {
        (None, _) => Ok(key),
        (Some(rest), Kind::Table(keys)) => find(keys, rest).ok_or_else(|| unknown(keys, rest)),
        (Some(_), Kind::Tables(_)) => Err(format!("there can be several {first}; use add and remove")),
        (Some(_), _) => Err(format!("{first} has no keys of its own")),
    }
}

fn set(document: &mut DocumentMut, path: &str, text: &str) -> Result<(), String> {
    let key = lookup(path)?;
    if key.name == "name" && path == "name" {
        return Err("a zone keeps its name".into());
    }
    let new = typed(key, text)?;
    match path.split_once('.') {
        None => replace(document.as_table_mut(), key.name, new),
        Some((outer, _)) => {
            let table = document.entry(outer).or_insert_with(|| Item::Table(Table::new()));
            let table = table.as_table_like_mut().ok_or_else(|| format!("{outer} is not a table"))?;
            replace(table, key.name, new);
        }
    }
    Ok(())
}

/// Puts a value in, with the space and comment of the one that it takes the place of.
fn replace(table: &mut dyn TableLike, key: &str, mut new: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    match table.get_mut(key) {
        Some(item) => *item = value(new),
        None => drop(table.insert(key, value(new))),
    }
}

fn unset(document: &mut DocumentMut, path: &str) -> Result<(), String> {
    let key = lookup(path)?;
    match path.split_once('.') {
        None if key.required => Err("it cannot be without a value".into()),
        None => {
            document.remove(path);
            Ok(())
        }
        Some((outer, inner)) => {
            let Some(table) = document.get_mut(outer).and_then(Item::as_table_like_mut) else {
                return Ok(());
            };
            table.remove(inner);
            if key.required || table.is_empty() {
                document.remove(outer);
            }
            Ok(())
        }
    }
}

fn add(document: &mut DocumentMut, name: &str, properties: &BTreeMap<String, String>) -> Result<(), String> {
    let key = resource(name)?;
    let table = filled(key, properties)?;
    match key.kind {
        Kind::Table(_) if document.contains_key(name) => {
            Err(format!("it is there already; change it with set {name}.KEY=VALUE"))
        }
        Kind::Table(_) => {
            document.insert(name, Item::Table(table));
            Ok(())
        }
        _ => {
            tables(document, name)?.push(table);
            Ok(())
        }
    }
}

fn remove(
    document: &mut DocumentMut,
    name: &str,
    properties: &BTreeMap<String, String>,
) -> Result<(), String> {
    let key = resource(name)?;
    let wanted = filled_partly(key, properties)?;
    let matches = |table: &dyn TableLike| {
        wanted.iter().all(|(name, want)| table.get(name).is_some_and(|have| same(have, want)))
    };
    if !document.contains_key(name) {
        return Err("there is none".into());
    }
    if let Kind::Table(_) = key.kind {
        let table = document.get(name).and_then(Item::as_table_like).ok_or("it is not a table")?;
        if !matches(table) {
            return Err("it is not like that".into());
        }
        document.remove(name);
        return Ok(());
    }
    let list = tables(document, name)?;
    let found: Vec<usize> =
        list.iter().enumerate().filter(|(_, table)| matches(*table)).map(|(index, _)| index).collect();
    match found[..] {
        [] => Err("none is like that".into()),
        [index] => {
            list.remove(index);
            if list.is_empty() {
                document.remove(name);
            }
            Ok(())
        }
        _ => Err(format!("{} are like that; say more of the one to remove", found.len())),
    }
}

fn resource(name: &str) -> Result<&'static Key, String> {
    let is_resource = |key: &&Key| matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
    let names = || ZONE.iter().filter(is_resource).map(|key| key.name);
    ZONE.iter().filter(is_resource).find(|key| key.name == name).ok_or_else(|| {
        match super::rules::nearest(name, names()) {
            Some(near) => format!("unknown resource; did you mean {near}?"),
            None => format!("unknown resource; known: {}", names().collect::<Vec<_>>().join(", ")),
        }
    })
}

fn keys_of(key: &Key) -> &'static [Key] {
    match key.kind {
        Kind::Table(keys) | Kind::Tables(keys) => keys,
        _ => &[],
    }
}

fn filled_partly(
    key: &Key,
    properties: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, Value)>, String> {
    let keys = keys_of(key);
    properties
        .iter()
        .map(|(name, text)| {
            let inner = find(keys, name).ok_or_else(|| format!("{name}: {}", unknown(keys, name)))?;
            Ok((inner.name, typed(inner, text).map_err(|why| format!("{name}: {why}"))?))
        })
        .collect()
}

/// A table of the properties, in the order of the reference.
fn filled(key: &Key, properties: &BTreeMap<String, String>) -> Result<Table, String> {
    let mut given: BTreeMap<&str, Value> = filled_partly(key, properties)?.into_iter().collect();
    let mut table = Table::new();
    for inner in keys_of(key) {
        match given.remove(inner.name) {
            Some(new) => drop(table.insert(inner.name, value(new))),
            None if inner.required => return Err(format!("{} is missing", inner.name)),
            None => {}
        }
    }
    if table.is_empty() {
        return Err("it needs a property".into());
    }
    Ok(table)
}

/// The list of tables of that name, made where it is not there; an inline list is written out.
fn tables<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut ArrayOfTables, String> {
    let item = document.entry(name).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    if !item.is_array_of_tables() {
        let list = std::mem::take(item).into_array_of_tables();
        *item = Item::ArrayOfTables(list.map_err(|_| format!("{name} is not a list of tables"))?);
    }
    item.as_array_of_tables_mut().ok_or_else(|| format!("{name} is not a list of tables"))
}

fn same(have: &Item, want: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        value.decor_mut().clear();
        match &mut value {
            Value::Array(array) => array.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect(),
            Value::Float(number) => vec![number.value().to_string()],
            Value::Integer(number) => vec![(*number.value() as f64).to_string()],
            Value::String(text) => vec![text.value().clone()],
            other => vec![other.to_string()],
        }
    };
    have.as_value().is_some_and(|have| bare(have) == bare(want))
}

/// A value as typed on a command line → as the key wants it.
fn typed(key: &Key, text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is not {}", key.kind.word());
    match key.kind {
        Kind::Text(_) | Kind::Count(_) => Ok(text.into()),
        Kind::List(_) if text.trim_start().starts_with('[') => {
            let list: Value = text.trim().parse().map_err(|_| wrong())?;
            let list = list.as_array().ok_or_else(wrong)?;
            let words: Option<Array> = list.iter().map(Value::as_str).collect();
            Ok(Value::Array(words.ok_or_else(wrong)?))
        }
        Kind::List(_) => {
            Ok(Value::Array(text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()))
        }
        Kind::Flag => text.parse::<bool>().map(Value::from).map_err(|_| wrong()),
        Kind::Whole => text.parse::<i64>().ok().filter(|n| *n >= 1).map(Value::from).ok_or_else(wrong),
        Kind::Real => {
            if let Ok(whole) = text.parse::<i64>() {
                return Ok(whole.into());
            }
            text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from).ok_or_else(wrong)
        }
        Kind::Table(_) => Err(format!("it has keys of its own: set {}.KEY=VALUE", key.name)),
        Kind::Tables(_) => Err("there can be several; use add and remove".into()),
    }
}
