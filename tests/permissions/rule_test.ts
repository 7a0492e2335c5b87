import { assertEquals, assertNotEquals } from "@std/assert";
import { Rule, ruleCode, ruleOfCode, ruleText } from "../../permissions/rule.ts";

Deno.test("ruleText() has a sentence for every rule", () => {
  for (const rule of Object.values(Rule)) assertNotEquals(ruleText(rule), rule);
  assertEquals(ruleText("aRuleOfTomorrow"), "aRuleOfTomorrow");
  assertEquals(ruleText("constructor"), "constructor");
});

Deno.test("ruleOfCode() gives back every rule, and an answer to every byte", () => {
  for (const rule of Object.values(Rule)) assertEquals(ruleOfCode(ruleCode(rule)), rule);
  for (let code = 0; code < 256; code++) assertNotEquals(ruleText(ruleOfCode(code)), "");
});
