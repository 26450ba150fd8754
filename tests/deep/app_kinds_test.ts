/** Apps of shapes that strangers bring, each with what it needs and nothing else. */
import { SHAPES } from "../apps/shapes.ts";
import { testApps } from "../harness/apps.ts";

testApps(SHAPES);
