-- survey: some fields of many records, and how long some others are.
-- KEYS  the records
-- ARGV  1 how many of the names are to be read  2.. the names; of the others the length is told
-- Returns for each key a list of the values and then of the lengths; an empty one where the key holds something else.
-- One command instead of some for each record: a look at all of them is mostly the price of asking and answering.
local wanted = tonumber(ARGV[1])
local read, measured = {}, {}
for i = 2, #ARGV do
  if i <= wanted + 1 then read[#read + 1] = ARGV[i] else measured[#measured + 1] = ARGV[i] end
end
local found = {}
for at, key in ipairs(KEYS) do
  local row = redis.pcall('HMGET', key, unpack(read))
  if row.err then
    row = {}
  else
    for _, name in ipairs(measured) do row[#row + 1] = redis.call('HSTRLEN', key, name) end
  end
  found[at] = row
end
return found
