-- leave_receipt: put the receipt of a forget where sync will fetch it, once.
-- KEYS  1 receipts  2 the forget
-- ARGV  1 receipt id  2 receipt  3 answer  4 ttl
-- Returns the answer that stands: of a repeat, and of two daemons that both finished the same forget, the first one.
-- Atomic because two receipts of one forget could differ. What it was planned from goes in the same step.
local first = redis.call('HGET', KEYS[2], 'answer')
if first then
  redis.call('HDEL', KEYS[2], 'plan')
  return first
end
local entry = redis.call('XADD', KEYS[1], '*', 'id', ARGV[1], 'receipt', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'answer', ARGV[3], 'entry', entry)
redis.call('EXPIRE', KEYS[2], ARGV[4])
return ARGV[3]
