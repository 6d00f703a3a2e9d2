package main

import "regexp"

// damageLine is how a gateway that will not start names the place.
var damageLine = regexp.MustCompile(`damaged: \S+ at byte \d+`)
