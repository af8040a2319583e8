-- join.lua - joins two inputs: the total of every customer's orders, with the customer's name.
--
-- The second key puts the customer's line in front of the orders, so reduce needs no memory for
-- them. Orders of an unknown customer go to the output "orphans", customers without orders show 0.
--
-- Run it:
--   perilune mr examples/jobs/join.lua examples/data/customers.tsv examples/data/orders.tsv -o /tmp/totals
local CUSTOMER, ORDER = 1, 2

return {
  output = "tsv",
  map = function(rec, out)
    if rec:file():find "customers" then
      local id, name = rec:fields("\t", 1, 2)
      out(id, CUSTOMER, name)
    else
      local id, cents = rec:fields("\t", 2, 3)
      out(id, ORDER, tonumber(cents))
    end
  end,
  reduce = function(id, values, out)
    local name, total = nil, 0
    for value, kind in values do
      if kind == CUSTOMER then
        name = value
      else
        total = total + value
      end
    end
    if name then
      out(name, total)
    else
      out:to("orphans", id, total)
    end
  end,
}
