-- task_lease: take, renew or give back the right to work on a task.
-- KEYS  1 lease  2 fence: the highest token that the project has given
-- ARGV  1 take, renew or release  2 token (of renew and release)  3 ttl in milliseconds
--       4 agent tag  5 session tag  6 request (4-6: of take)
-- Returns {outcome, token, milliseconds left, agent tag, session tag, since}: mine, or held (by somebody else); {'gone'} when
--       the lease is nobody's or has another token; {'released'}.
-- Atomic because two takers must never read the same free lease.
-- A token is later than all before it, also when Redis has lost its last second, or everything: it is never less than now.
local now = said_now()

local function lease(outcome)
  local held = redis.call('HMGET', KEYS[1], 'token', 'agent', 'session', 'since')
  return { outcome, held[1], redis.call('PTTL', KEYS[1]), held[2], held[3], held[4] }
end

local held = redis.call('HMGET', KEYS[1], 'token', 'request')
if ARGV[1] == 'take' then
  if held[1] then return lease(held[2] == ARGV[6] and 'mine' or 'held') end
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  local token = string.format('%.0f', math.max(tonumber(now), last + 1))
  redis.call('SET', KEYS[2], token)
  redis.call('HSET', KEYS[1], 'token', token, 'agent', ARGV[4], 'session', ARGV[5], 'request', ARGV[6], 'since', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return lease('mine')
end
if held[1] ~= ARGV[2] then return { 'gone' } end
if ARGV[1] == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return lease('mine')
end
redis.call('DEL', KEYS[1])
return { 'released' }
