// What every process of the tests begins with, as every command does.
import { importQuickly } from "../../bin/quick-imports.js";

importQuickly();
