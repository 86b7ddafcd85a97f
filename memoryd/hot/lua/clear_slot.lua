-- clear_slot: take what is not of one model out of a record's slot.
-- KEYS  1 record
-- ARGV  1 slot  2 model whose vectors stay ('' = none)
-- Returns 1 if something went.
-- Atomic because a vector of that model may be filled in between.
local model = redis.call('HGET', KEYS[1], 'embedding_model' .. ARGV[1])
if not model or model == ARGV[2] then return 0 end
local names = { 'embedding', 'half', 'parked', 'embedding_model' }
for at, name in ipairs(names) do names[at] = name .. ARGV[1] end
return redis.call('HDEL', KEYS[1], unpack(names)) > 0 and 1 or 0
