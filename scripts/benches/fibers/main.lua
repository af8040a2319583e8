-- Runs script.lua in our binary, and the same computing code in the stock interpreter beside it.
local folder = arg[0]:match "^(.*)/"
local binary = os.getenv "PERILUNE" or "build/release/perilune"
if not os.execute(("%s run %s/script.lua"):format(binary, folder)) then
  os.exit(1)
end
print "the same code in lua5.4, where no ticker ticks:"
os.exit(os.execute(("lua5.4 %s/computing.lua"):format(folder)))
