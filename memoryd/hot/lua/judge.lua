-- judge: what one recall says of a memory: useful, useless, or nothing (any more).
-- KEYS  1 record  2 journal  3 verdict: what this recall has said of it before  4 events  5 idempotency
-- ARGV  1 now  2 agent tag ('' = any)  3 session tag ('' = any)  4 fingerprint ('' = not a request of its own)
--       5 idempotency ttl  6 journal limit  7 events prefix  8 traceparent  9 useful  10 useless  11 verdict ttl
--       12 half-life in microseconds
-- Returns {'judged' | 'unchanged', id, version, entry}; {'missing'}, {'overloaded'}, {'reused'}.
-- What was said fades by halves, and fading is linear: taking a verdict back removes exactly what is left of it.
-- Atomic because the verdict before, the new sums and the journal entry belong to one record.
local first = ARGV[4] ~= '' and replay(KEYS[5], ARGV[4], ARGV[5])
if first then return first end
local record = read_record(KEYS[1])
if not record.id or not inside(record, ARGV[2], ARGV[3]) then return { 'missing' } end

local now, half_life = tonumber(ARGV[1]), tonumber(ARGV[12])
local function left(at) return 0.5 ^ (math.max(0, now - tonumber(at)) / half_life) end
local function answer(outcome, entry)
  if ARGV[4] == '' then return { outcome, record.id, record.version, entry } end
  return finish(KEYS[5], ARGV[5], ARGV[4], outcome, record.id, record.version, entry)
end

local said = redis.call('GET', KEYS[3])
local useful, useless, said_at = string.match(said or '0 0 0', '^(%S+) (%S+) (%S+)$')
if useful == ARGV[9] and useless == ARGV[10] then return answer('unchanged', '') end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'overloaded' } end

local count, so_far, against, at = string.match(record.feedback or '0 0 0 0', '^(%S+) (%S+) (%S+) (%S+)$')
local function sum(before, taken, given) return math.max(0, before * left(at) - taken * left(said_at)) + given end
record.feedback = string.format('%d %.6f %.6f %.0f', count + 1, sum(so_far, useful, ARGV[9]),
  sum(against, useless, ARGV[10]), math.max(now, tonumber(at)))
local entry = redis.call('XADD', KEYS[2], '*', 'op', 'judged', 'traceparent', ARGV[8], 'id', record.id,
  'tenant', record.tenant, 'project', record.project, 'memory_type', record.memory_type, 'version', record.version,
  'feedback', record.feedback)
redis.call('HSET', KEYS[1], 'feedback', record.feedback, unpack(told_by(record)))
redis.call('SET', KEYS[3], ARGV[9] .. ' ' .. ARGV[10] .. ' ' .. ARGV[1], 'EX', ARGV[11])
notify(KEYS[4], ARGV[7], 'judged', record, record.version, entry, ARGV[8])
return answer('judged', entry)
