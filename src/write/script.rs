//! The script that compares and writes a row in one step.

/// Writes a row if it is newer than the stored one.
///
/// `KEYS[1]` is the entity's hash. `ARGV`: the field of the event timestamp, the new timestamp (a
/// serialized `google.protobuf.Timestamp`), the key's time to live in seconds or 0, whether a
/// skipped row renews it (1 or 0), when the row's fields expire in milliseconds since the epoch or
/// 0, then the fields and their values in turn. Returns 1 for a row that was written, 0 for one
/// that is older than the stored one, 2 for one that is as old.
///
/// Lua's numbers are doubles, so 64-bit seconds are compared in two parts, of 15 and 49 bits. Times
/// of the years 1978 to 3058, whose seconds are varints of five bytes, are compared without that.
pub const SOURCE: &str = r"local byte = string.byte
local function seconds(message)
  local tag, a, b, c, d, e = byte(message, 1, 6)
  if tag == 8 and e and a > 127 and b > 127 and c > 127 and d > 127 and e < 128 then
    return ((((e * 128 + d - 128) * 128 + c - 128) * 128 + b - 128) * 128) + a - 128
  end
end
local function parts(message)
  local high, low, nanos = 0, 0, 0
  local at = 1
  while at <= #message do
    local tag = byte(message, at)
    local h, l, group = 0, 0, 0
    repeat
      at = at + 1
      local bits = byte(message, at)
      if not bits or group > 9 or (tag ~= 8 and tag ~= 16) then
        return nil
      end
      local value = bits % 128
      if group < 7 then
        l = l + value * 128 ^ group
      else
        h = h + value * 128 ^ (group - 7)
      end
      group = group + 1
    until bits < 128
    at = at + 1
    if tag == 8 then
      high, low = h, l
    else
      nanos = l
    end
  end
  if high >= 16384 then
    high = high - 32768
  end
  return high, low, nanos
end
local key, field, new, ttl, expiry = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5]
local stored = redis.call('HGET', key, field)
if stored and stored ~= '' then
  local order
  local before, after = seconds(stored), seconds(new)
  if before and after and before ~= after then
    order = after - before
  elseif stored == new then
    order = 0
  else
    local h, l, n = parts(stored)
    if not h then
      return redis.error_reply('ERR the stored event timestamp is malformed')
    end
    local nh, nl, nn = parts(new)
    order = nh - h
    if order == 0 then order = nl - l end
    if order == 0 then order = nn - n end
    if h == 0 and l == 0 and n == 0 then order = 1 end
  end
  if order <= 0 then
    if ttl > 0 and ARGV[4] == '1' then
      redis.call('EXPIRE', key, ttl)
    end
    return order == 0 and 2 or 0
  end
end
redis.call('HSET', key, field, new, unpack(ARGV, 6, math.min(4005, #ARGV)))
for first = 4006, #ARGV, 4000 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if ttl > 0 then
  redis.call('EXPIRE', key, ttl)
end
if expiry ~= '0' then
  local fields = {field}
  for at = 6, #ARGV, 2 do
    fields[#fields + 1] = ARGV[at]
  end
  for first = 1, #fields, 4000 do
    local last = math.min(first + 3999, #fields)
    redis.call('HPEXPIREAT', key, expiry, 'FIELDS', last - first + 1, unpack(fields, first, last))
  end
end
return 1
";

/// What the script returns for a row that is older than the stored one.
pub const OLDER: i64 = 0;
/// What the script returns for a row that is as old as the stored one.
pub const AS_OLD: i64 = 2;

/// The SHA-1 of [`SOURCE`], under which Redis keeps it.
pub const SHA: &str = "749318c3e94a68a4ef157b88862e97286b54ba38";
