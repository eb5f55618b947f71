# Completes what cyclonedx-gomod reads from a program: the time of the commit, and the licenses that go-licenses found
# ($licenses, see licenses.tmpl). Its own detection of licenses names wrong ones. The hash of cyclonedx-gomod itself
# depends on the machine that built it.
def license: . as $name
  | [$licenses | split("\n")[] | select(. != "") | split(" ") | select(.[0] == $name or (.[0] | startswith($name + "/"))) | .[3:] | join(" ")]
  | unique | join(" AND ")
  | if . == "" or contains("Unknown") then error("license of \($name) is unknown") else . end;

del(.metadata.tools[].hashes)
| .metadata.timestamp = ($date | tonumber | todate)
| .metadata.component.licenses = [{license: {id: "Apache-2.0"}}]
| .components |= map(.licenses = [{expression: (.name | license)}])
