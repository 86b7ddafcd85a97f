-- flip: have everybody read the vectors that were filled, if (nearly) none lacks them.
-- KEYS  1 the schema's state
-- ARGV  1 how many memories may lack them  2 a query for those that do  3 the model's tag, as its parameter
--       4 number of the next  5.. aliases and the indexes that they get, then the number of the next, fields of the state
--       to remove, and then fields and values to set
-- Returns 1, or 0 when more lack them.
-- Atomic because whoever sees the new state must find the new index, and because a memory that gets its vector between the
-- count and the flip would have the wrong one only.
local aliases = tonumber(ARGV[4])
local lacking = 0
for i = 5, 4 + aliases, 2 do
  local found = redis.call('FT.SEARCH', ARGV[i], ARGV[2], 'LIMIT', 0, 0, 'PARAMS', 2, 'model', ARGV[3], 'DIALECT', 2)
  lacking = lacking + found[1]
end
if lacking > tonumber(ARGV[1]) then return 0 end
for i = 5, 4 + aliases, 2 do redis.call('FT.ALIASUPDATE', ARGV[i], ARGV[i + 1]) end
local at = 5 + aliases
local gone = tonumber(ARGV[at])
redis.call('HDEL', KEYS[1], unpack(ARGV, at + 1, at + gone))
redis.call('HSET', KEYS[1], unpack(ARGV, at + gone + 1))
return 1
