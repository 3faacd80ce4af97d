//! The two scripts, and the commands that run them.

use super::comparison::{Changes, Ttl};
use super::hash::Hash;
use crate::redis::command::Commands;

/// A Lua script and the SHA-1 under which Redis keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// The text.
    pub source: &'static str,
    /// The text's SHA-1.
    pub sha: &'static str,
}

/// What a script returns when it did nothing, since the hash is not what was read before.
pub const CHANGED: i64 = 0;
/// What a script returns when it did its work.
pub const DONE: i64 = 1;

/// Writes the changes to `KEYS[1]`, if its event timestamps are those that were compared.
///
/// `ARGV`: the time to live in milliseconds that the key has to have at least, -1 for ever, 0 for
/// any; how many event timestamps, removed fields, moved fields and added fields follow; then
/// timestamps' fields and values, removed fields, moved fields and values, moved fields' times of
/// expiry (0 for none) if there is one, and added fields, values and times of expiry.
pub const MERGE: Script = Script {
    source: r"local key, ttl = KEYS[1], tonumber(ARGV[1])
local views, removed = tonumber(ARGV[2]), tonumber(ARGV[3])
local moved, added, expiring = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local at = 7
for _ = 1, views do
  if (redis.call('HGET', key, ARGV[at]) or '') ~= ARGV[at + 1] then
    return 0
  end
  at = at + 2
end
local left = redis.call('PTTL', key)
for first = at, at + removed - 1, 4000 do
  redis.call('HDEL', key, unpack(ARGV, first, math.min(first + 3999, at + removed - 1)))
end
at = at + removed
for first = at, at + 2 * moved - 1, 4000 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 3999, at + 2 * moved - 1)))
end
local names = at
at = at + 2 * moved
if expiring then
  for i = 0, moved - 1 do
    if ARGV[at + i] ~= '0' then
      redis.call('HPEXPIREAT', key, ARGV[at + i], 'FIELDS', 1, ARGV[names + 2 * i])
    end
  end
  at = at + moved
end
for first = at, at + 3 * added - 1, 3 do
  if redis.call('HSETNX', key, ARGV[first], ARGV[first + 1]) == 1 and ARGV[first + 2] ~= '0' then
    redis.call('HPEXPIREAT', key, ARGV[first + 2], 'FIELDS', 1, ARGV[first])
  end
end
if ttl > 0 and (left == -2 or (left >= 0 and left < ttl)) then
  redis.call('PEXPIRE', key, ttl)
elseif ttl == -1 and left >= 0 then
  redis.call('PERSIST', key)
end
return 1
",
    sha: "8275cb83f0ccb3f2958172a3d5f091add252867e",
};

/// Deletes `KEYS[1]` if its fields and values are exactly `ARGV`, in turn. Returns 2 if there is no
/// such key.
pub const DELETE: Script = Script {
    source: r"local stored = redis.call('HGETALL', KEYS[1])
if #stored == 0 then
  return 2
end
if #stored ~= #ARGV then
  return 0
end
local values = {}
for at = 1, #ARGV, 2 do
  values[ARGV[at]] = ARGV[at + 1]
end
for at = 1, #stored, 2 do
  if values[stored[at]] ~= stored[at + 1] then
    return 0
  end
end
redis.call('UNLINK', KEYS[1])
return 1
",
    sha: "368f9ba8b9861b229cc57ee3875d192156582328",
};

impl Script {
    /// Begins a call with `arguments` arguments: by the SHA, or with the text, which also loads it.
    fn begin(&self, commands: &mut Commands, with_text: bool, key: &[u8], arguments: usize) {
        commands.begin(4 + arguments);
        if with_text {
            commands.argument(b"EVAL");
            commands.argument(self.source.as_bytes());
        } else {
            commands.argument(b"EVALSHA");
            commands.argument(self.sha.as_bytes());
        }
        commands.argument(b"1");
        commands.key(key);
    }
}

/// Adds the call that makes `changes` to the hash at `key`.
pub fn push_merge(
    commands: &mut Commands,
    with_text: bool,
    key: &[u8],
    old: &Hash,
    changes: &Changes<'_>,
) {
    let (moved, added) = (&changes.moved, &changes.added);
    let expiring = moved.iter().any(|&at| old.cells()[at].expiry.is_some());
    let times = if expiring { moved.len() } else { 0 };
    let lists = 2 * changes.expected.len() + changes.removed.len();
    let arguments = 6 + lists + 2 * moved.len() + times + 3 * added.len();
    MERGE.begin(commands, with_text, key, arguments);
    match changes.ttl {
        None => commands.argument(b"0"),
        Some(Ttl::Forever) => commands.argument(b"-1"),
        Some(Ttl::Left(left)) => push_number(commands, left.max(1)),
    }
    push_number(commands, changes.expected.len() as u64);
    push_number(commands, changes.removed.len() as u64);
    push_number(commands, moved.len() as u64);
    push_number(commands, added.len() as u64);
    commands.argument(if expiring { b"1" } else { b"0" });
    for (field, value) in &changes.expected {
        commands.argument(field);
        commands.argument(value);
    }
    for field in &changes.removed {
        commands.argument(field);
    }
    for &at in moved {
        commands.argument(&old.cells()[at].field);
        commands.argument(&old.cells()[at].value);
    }
    for &at in moved.iter().take(times) {
        push_number(commands, old.cells()[at].expiry.unwrap_or(0));
    }
    for &at in added {
        commands.argument(&old.cells()[at].field);
        commands.argument(&old.cells()[at].value);
        push_number(commands, old.cells()[at].expiry.unwrap_or(0));
    }
    commands.end();
}

/// Adds the call that deletes the hash at `key` if it is still `old`.
pub fn push_delete(commands: &mut Commands, with_text: bool, key: &[u8], old: &Hash) {
    DELETE.begin(commands, with_text, key, 2 * old.cells().len());
    for cell in old.cells() {
        commands.argument(&cell.field);
        commands.argument(&cell.value);
    }
    commands.end();
}

fn push_number(commands: &mut Commands, number: u64) {
    commands.argument(number.to_string().as_bytes());
}
