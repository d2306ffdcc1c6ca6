// What grafana_schema.json is derived from. In a folder with these packages:
//   npm install --ignore-scripts @grafana/schema@13.2.3 ts-json-schema-generator@2.4.0
//   npx ts-json-schema-generator --path grafana_schema.ts --type Root --expose none --jsDoc none --no-type-check
import type * as dashboard from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeline from './node_modules/@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

type Panel<Type extends string, Options, Custom> = Omit<dashboard.Panel, 'type' | 'options' | 'fieldConfig'> & {
  id: number;
  title: string;
  type: Type;
  options: Options;
  fieldConfig: Omit<dashboard.FieldConfigSource, 'defaults'> & {
    defaults: Omit<dashboard.FieldConfig, 'custom'> & { custom?: Partial<Custom> };
  };
};

export type Root = Omit<dashboard.Dashboard, 'panels'> & {
  uid: string;
  title: string;
  tags: string[];
  panels: Array<
    | Panel<'state-timeline', Omit<timeline.Options, 'timezones'>, timeline.FieldConfig>
    | Panel<'table', table.Options, table.FieldConfig>
    | Panel<'stat', stat.Options, {}>
    | Panel<'timeseries', timeseries.Options, timeseries.FieldConfig>
    | dashboard.RowPanel
  >;
};
