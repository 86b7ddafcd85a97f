-- scratch_set: write values into a pad, all or none.
-- ARGV  7.. names and values as JSON
-- Returns {'done'}, {'full'}, {'reused'}.
-- Atomic because two writers that each fit would together be too much.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local values = {}
for i = 7, #ARGV, 2 do values[ARGV[i]] = ARGV[i + 1] end
local refused = write(values)
return refused and { refused } or done()
